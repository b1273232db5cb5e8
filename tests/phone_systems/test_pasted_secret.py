"""The secret of a phone system that makes it itself: it is brought here, and replaced while deliveries go on."""

import pytest
from sqlalchemy import select

from app.extensions import db
from app.phone_systems.models import PhoneSystem
from tests.calls.conftest import SECRET, Hook, hook, make_hook
from tests.conftest import in_database
from tests.dashboard.conftest import alice_visits
from tests.phone_systems.test_webhook_password import delivers_with, let_expire, rotate, url_of

__all__ = ["alice_visits", "hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NEW = SECRET[::-1]
BODY = (
    b'{"type": 30012, "sn": "x", "msg": {"call_id": "1", "time_start": "2026-11-20 18:32:10", "call_from": "100", '
    b'"call_to": "101", "call_duration": 2, "talk_duration": 1, "status": "ANSWERED"}}'
)


@pytest.fixture
def yeastar(app, alice) -> Hook:
    return make_hook(app, alice, vendor="yeastar")


def delivers(hook: Hook, secret: str) -> bool:
    answer = hook.deliver(BODY, credentials=("", secret), content_type="application/json")
    assert answer.status_code in (200, 201, 401)
    return answer.status_code != 401


def stored(app) -> PhoneSystem:
    with in_database(app):
        return db.session.scalars(select(PhoneSystem)).one()


def test_one_is_created_without_its_secret_and_refuses_all_until_it_is_there(app, alice):
    answer = alice.client.post("/api/phone-systems", json={"name": "HQ", "vendor": "yeastar"})
    assert (answer.status_code, answer.json["webhook_password_set"]) == (201, False)
    assert "webhook_password" not in answer.json
    hook = Hook(app, answer.json["webhook_path"], "", "", signs=True)
    assert not delivers(hook, SECRET)
    assert not delivers(hook, "\0" * 24)
    changed = alice.client.patch(url_of(hook), json={"webhook_password": SECRET})
    assert (changed.status_code, changed.json["webhook_password_set"]) == (200, True)
    assert SECRET not in changed.text
    assert delivers(hook, SECRET)


def test_the_old_secret_works_while_the_new_one_is_entered(app, alice, yeastar):
    answer = rotate(alice, yeastar, password=NEW, keep_previous_hours=1)
    assert "webhook_password" not in answer
    assert [delivers(yeastar, secret) for secret in (SECRET, NEW, "x" * 32)] == [True, True, False]
    let_expire(app)
    assert [delivers(yeastar, secret) for secret in (SECRET, NEW)] == [False, True]
    rotate(alice, yeastar, password=SECRET, keep_previous_hours=0)
    assert [delivers(yeastar, secret) for secret in (SECRET, NEW)] == [True, False]


def test_it_is_stored_encrypted(app, yeastar):
    assert SECRET not in str(stored(app).__dict__)
    with in_database(app):
        assert db.session.scalars(select(PhoneSystem)).one().webhook_password == SECRET


@pytest.mark.parametrize("secret", [None, "", SECRET[1:], f"{SECRET}x", f" {SECRET}"])
def test_none_is_made_up_and_what_cannot_be_one_is_refused(alice, yeastar, secret):
    given = {} if secret is None else {"password": secret}
    answer = alice.client.post(f"{url_of(yeastar)}/webhook-password", json=given)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "password")
    assert delivers(yeastar, SECRET)


def test_the_same_is_asked_of_it_when_one_is_created_or_changed(alice, yeastar):
    asked = [
        alice.client.post("/api/phone-systems", json={"name": "X", "vendor": "yeastar", "webhook_password": "short"}),
        alice.client.patch(url_of(yeastar), json={"webhook_password": "short"}),
    ]
    for answer in asked:
        assert (answer.status_code, answer.json["errors"]) == (
            422,
            [
                {
                    "field": "webhook_password",
                    "message": "must be the 32 characters that the phone system shows as its secret",
                }
            ],
        )
    assert delivers(yeastar, SECRET)


def test_a_password_does_not_become_a_secret_when_the_kind_is_changed(alice, hook):
    rotate(alice, hook, keep_previous_hours=24)
    changed = alice.client.patch(url_of(hook), json={"vendor": "yeastar"}).json
    assert (changed["webhook_password_set"], changed["previous_webhook_password_expires_at"]) == (False, None)
    assert {notice["field"] for notice in changed["notices"]} == {"webhook_password", "previous_webhook_password"}
    changed = alice.client.patch(url_of(hook), json={"vendor": "asterisk", "webhook_password": "x" * 9}).json
    assert (changed["webhook_password_set"], changed["notices"]) == (True, [])
    assert delivers_with(hook, "x" * 9)
    changed = alice.client.patch(url_of(hook), json={"vendor": "grandstream"}).json
    assert (changed["webhook_password_set"], changed["notices"]) == (True, [])


@on_sqlite
def test_who_adds_one_is_asked_for_its_secret_and_shown_the_address(app, alice_visits):
    page = alice_visits.open("/phone-systems/new")
    page = alice_visits.send(page, "Save", name="Branch", vendor="yeastar")
    assert page.title == "Set a webhook secret for Branch"
    assert f"https://audiapro.example{stored(app).webhook_path}" in page.all(".to-enter dd code")
    page = alice_visits.send(page, "Save", 422, password="too short")
    assert page.errors() == {"password": "This must be the 32 characters that the phone system shows as its secret."}
    assert "too short" not in page.response.text
    page = alice_visits.send(page, "Save", password=f" {SECRET}\n")
    assert page.title == "Branch"
    assert "Waiting for a call record" in page.text
    assert SECRET not in page.response.text
    hook = Hook(app, stored(app).webhook_path, "", SECRET, signs=True)
    live = page.soup.select_one("[data-live]")["data-live"]
    assert not delivers(hook, NEW)
    assert "the signature is wrong" in alice_visits.client.get(live).text
    page = alice_visits.open(f"/phone-systems/{stored(app).id}")
    assert "wrong signature" in page.text
    assert "User name" not in page.all("dt")
    assert delivers(hook, SECRET)
    assert "A call record has come" in alice_visits.client.get(live).text


@on_sqlite
def test_another_secret_is_entered_and_the_old_one_works_as_long_as_was_chosen(app, alice_visits, yeastar):
    page = alice_visits.open(f"/phone-systems/{stored(app).id}/webhook-password")
    assert page.title == "New webhook secret for HQ"
    page = alice_visits.send(page, "Save", password=NEW, keep_previous_hours="1")
    assert page.title == "HQ"
    assert "The old one works too" in page.text
    assert delivers(yeastar, SECRET)
    assert delivers(yeastar, NEW)


@on_sqlite
def test_who_changes_the_kind_on_a_page_is_told_that_the_password_is_gone(app, alice_visits, hook):
    page = alice_visits.open(f"/phone-systems/{stored(app).id}/edit")
    page = alice_visits.send(page, "Save", vendor="yeastar")
    assert "Its webhook password was removed" in page.text
    assert not stored(app).webhook_password_set
