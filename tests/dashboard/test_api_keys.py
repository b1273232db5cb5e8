"""The pages of API keys."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from app.api_keys.authentication import hash_of, make_key
from app.api_keys.models import ApiKey
from app.audit.models import AuditEvent
from app.database import now
from app.extensions import db
from app.identity.models import Membership
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database
from tests.one_time import contents, grow_stale, statements

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "<script>alert(1)</script>{{7*7}}=1+1"
BUTTON = "Make the key"


def make(visitor, status=200, **typed):
    typed = {"name": "Wallboard", "role": "member", "expiry": "never"} | typed
    return visitor.send(visitor.open("/api-keys/new"), BUTTON, status, **typed)


def add_keys(app, person, count=1, **values):
    with in_database(app):
        for _ in range(count):
            prefix, text = make_key()
            key = {"name": "Wallboard", "role": "member", "created_by": person.email} | values
            db.session.add(ApiKey(tenant_id=person.tenant_id, prefix=prefix, token_hash=hash_of(text), **key))
        db.session.commit()


def stored(app):
    with in_database(app):
        return db.session.scalars(select(ApiKey)).all()


def one_id(app):
    with in_database(app):
        return db.session.scalars(select(ApiKey.id)).one()


@on_sqlite
def test_owners_and_admins_see_the_keys_and_nobody_else_does(app, bob, alice_visits, bob_visits):
    page = alice_visits.open("/api-keys")
    assert page.title == "API keys"
    assert "There is no API key yet." in page.text
    bob_visits.open("/api-keys", 403)
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role="admin"))
        db.session.commit()
    bob_visits.open("/api-keys")


@on_sqlite
def test_a_new_key_is_shown_this_once_with_a_command_and_works(app, client, alice, alice_visits):
    page = make(alice_visits)
    assert page.title == "API key “Wallboard”"
    key = page.soup.find(id="key").get_text()
    assert page.text.count(key) == 2  # and in the command
    assert page.soup.find(id="curl").get_text() == (
        f'curl -sS https://audiapro.example/api/calls -H "Authorization: Bearer {key}"'
    )
    assert {button["data-copy"] for button in page.soup.select("[data-copy]")} == {"key", "curl"}
    assert client.get("/api/calls", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    page = alice_visits.open("/api-keys")
    secret = key.rpartition("_")[2]
    assert secret not in page.response.text
    assert key not in contents(app)
    assert page.all("tbody td")[:2] == ["Wallboard", "member"]
    assert page.all("tbody code") == [key.removesuffix(secret)]
    assert f"by {alice.email}" in page.text
    with alice_visits.client.session_transaction() as cookie:
        assert secret not in str(dict(cookie))


@on_sqlite
@pytest.mark.parametrize(("expiry", "days"), [("30", 30), ("90", 90), ("365", 365), ("never", None)])
def test_a_key_stops_working_after_the_time_that_was_chosen(app, alice_visits, expiry, days):
    make(alice_visits, expiry=expiry, role="admin")
    (key,) = stored(app)
    assert key.role == "admin"
    assert (key.expires_at is None) == (days is None)
    if days is not None:
        expected = now() + timedelta(days=days)
        assert expected - timedelta(minutes=5) < key.expires_at <= expected


@on_sqlite
def test_a_key_works_until_the_end_of_the_chosen_day_where_the_organisation_is(app, alice, alice_visits):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="America/New_York"))
        db.session.commit()
    make(alice_visits, expiry="day", expires_at="2100-07-31")
    assert stored(app)[0].expires_at == datetime(2100, 8, 1, 4, tzinfo=UTC)


@on_sqlite
@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"name": ""}, "name", "Please fill this in."),
        ({"name": " "}, "name", "Please fill this in."),
        ({"name": "x" * 256}, "name", "This is too long: at most 255 characters."),
        ({"role": "owner"}, "role", "Please choose one of these."),
        ({"role": None}, "role", "Please choose one of these."),
        ({"expiry": "7"}, "expiry", "Not a valid choice."),
        ({"expiry": "day"}, "expires_at", "Please choose a day, such as 2030-01-31."),
        ({"expiry": "day", "expires_at": "soon"}, "expires_at", "Please choose a day, such as 2030-01-31."),
        ({"expiry": "day", "expires_at": "9999-12-31"}, "expires_at", "Please choose a day, such as 2030-01-31."),
        ({"expiry": "day", "expires_at": "2001-01-01"}, "expires_at", "This must be in the future."),
        ({"expiry": "day", "expires_at": "0001-01-01"}, "expires_at", "This must be in the future."),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_no_key_is_made(app, alice_visits, typed, field, said):
    page = make(alice_visits, 422, **typed)
    assert page.errors() == {field: said}
    assert page.values(BUTTON).items() >= {name: value for name, value in typed.items() if name == "name"}.items()
    assert stored(app) == []


@on_sqlite
def test_the_list_marks_what_has_expired_and_tells_when_each_was_last_used(app, alice, alice_visits):
    add_keys(app, alice, name="Old", expires_at=now() - timedelta(days=1), last_used_at=now() - timedelta(hours=5))
    add_keys(app, alice, name="New", expires_at=now() + timedelta(days=1))
    page = alice_visits.open("/api-keys")
    assert page.all("tbody td:first-child") == ["New", "Old expired"]
    assert page.all("tbody td:nth-child(6)") == ["never", "5 hours ago"]


@on_sqlite
def test_a_key_is_deleted_after_a_page_that_says_what_stops_working(app, alice, alice_visits):
    add_keys(app, alice, last_used_at=now() - timedelta(minutes=3))
    (link,) = [link["href"] for link in alice_visits.open("/api-keys").soup.select("a") if link.text == "Delete"]
    page = alice_visits.open(link)
    assert page.title == "Delete the API key “Wallboard”?"
    assert "stops working at once" in page.text
    assert "It was last used 3 minutes ago" in page.text
    page = alice_visits.send(page, "Delete the key")
    assert page.messages == "The API key “Wallboard” is deleted: what uses it is refused from now on."
    assert stored(app) == []
    alice_visits.open(link, 404)


@on_sqlite
def test_keys_of_another_organisation_are_neither_seen_nor_deleted(app, alice, charlie_visits):
    add_keys(app, alice)
    assert "Wallboard" not in charlie_visits.open("/api-keys").text
    address = f"/api-keys/{one_id(app)}/delete"
    charlie_visits.open(address, 404)
    values = charlie_visits.open("/api-keys/new").values(BUTTON)
    answer = charlie_visits.client.post(address, data=values, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 404
    assert len(stored(app)) == 1


@on_sqlite
def test_whoever_has_not_proved_themselves_lately_does_so_first(app, alice, alice_visits):
    add_keys(app, alice)
    for address, title in (
        ("/api-keys/new", "New API key"),
        (f"/api-keys/{one_id(app)}/delete", "Delete the API key “Wallboard”?"),
    ):
        grow_stale(app)
        page = alice_visits.open(address)
        assert page.title == "Is it you?"
        page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
        assert (page.title, page.address) == (title, address)


@on_sqlite
def test_a_step_in_between_keeps_what_was_typed_and_makes_no_key_yet(app, alice_visits):
    form = alice_visits.open("/api-keys/new")
    grow_stale(app)
    page = alice_visits.send(form, BUTTON, name="Report", role="admin", expiry="90")
    assert page.title == "Is it you?"
    page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
    assert page.values(BUTTON).items() >= {"name": "Report", "role": "admin", "expiry": "90"}.items()
    assert stored(app) == []
    alice_visits.send(page, BUTTON)
    assert [key.name for key in stored(app)] == ["Report"]


@on_sqlite
def test_what_was_typed_is_shown_as_text_and_recorded_with_who_did_it(app, alice, alice_visits):
    made = make(alice_visits, name=CANARY)
    for page in (made, alice_visits.open("/api-keys"), alice_visits.open(f"/api-keys/{one_id(app)}/delete")):
        assert CANARY in page.text
        assert page.soup.find("script", string=re.compile("alert")) is None
    page = alice_visits.send(page, "Delete the key")
    assert CANARY in page.messages
    with in_database(app):
        events = db.session.scalars(select(AuditEvent).where(AuditEvent.action.startswith("api_key.")))
        assert [(event.action, event.actor_name) for event in events] == [
            ("api_key.created", alice.email),
            ("api_key.deleted", alice.email),
        ]


def test_the_list_takes_as_many_statements_for_one_as_for_fifty(app, alice, alice_visits):
    counts = []
    for count in (1, 60):
        add_keys(app, alice, count)
        alice_visits.open("/api-keys")
        with statements(app) as seen:
            page = alice_visits.open("/api-keys")
        counts.append(len([one for one in seen if not re.match("BEGIN|SELECT set_config", one)]))
    assert counts[0] == counts[1] <= 12
    (older,) = page.soup.select("a[rel=next]")
    assert len(alice_visits.open(older["href"]).soup.select("tbody tr")) == 11
