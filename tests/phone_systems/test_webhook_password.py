"""A webhook password is rotated while the PBX goes on delivering."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import flask_migrate
import pytest
from sqlalchemy import event, inspect, select, text, update

from app.audit import tally
from app.database import now
from app.encryption import sealed
from app.errors import Invalid
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from tests.calls.conftest import Hook, hook, make_hook
from tests.conftest import in_database
from tests.test_versions import all_at_once

__all__ = ["hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ACCEPTED, REFUSED = {200, 201}, {401}
LAST = "previous_webhook_password_expires_at"


def url_of(hook: Hook) -> str:
    return f"/api/phone-systems/{hook.path.split('/')[3]}"


def rotate(person, hook: Hook, **body):
    answer = person.client.post(f"{url_of(hook)}/webhook-password", json=body)
    assert answer.status_code == 200, answer.json
    return answer.json


def delivers_with(hook: Hook, password: str) -> bool:
    status = hook.deliver(credentials=("", password)).status_code
    assert status in ACCEPTED | REFUSED
    return status in ACCEPTED


def let_expire(app):
    """Every grace that there is ended a second ago."""
    with in_database(app):
        db.session.execute(update(PhoneSystem).values(grace_ends_at=now() - timedelta(seconds=1)))
        db.session.commit()


def stored(app) -> PhoneSystem:
    with in_database(app):
        return db.session.scalars(select(PhoneSystem)).one()


def events(person, **filters):
    return person.client.get("/api/audit-events", query_string=filters).json["items"]


def test_both_passwords_are_accepted_until_the_old_one_expires(app, alice, hook):
    rotated = rotate(alice, hook, keep_previous_hours=2)
    assert rotated["webhook_password"] != hook.password
    left = datetime.fromisoformat(rotated[LAST]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=55) < left <= timedelta(hours=2)
    assert alice.client.get(url_of(hook)).json[LAST] == rotated[LAST]
    assert delivers_with(hook, hook.password)
    assert delivers_with(hook, rotated["webhook_password"])
    assert not delivers_with(hook, "wrong")
    let_expire(app)
    assert not delivers_with(hook, hook.password)
    assert delivers_with(hook, rotated["webhook_password"])
    assert alice.client.get(url_of(hook)).json[LAST] is None
    assert alice.client.get("/api/phone-systems").json["items"][0][LAST] is None


@on_sqlite
def test_a_generated_password_is_shown_this_once_and_a_given_one_never(alice, hook):
    rotated = rotate(alice, hook)
    assert rotated["version"] == 2
    assert "webhook_password" not in alice.client.get(url_of(hook)).json
    given = rotate(alice, hook, password="chosen by Alice", version=2)
    assert "chosen by Alice" not in json.dumps(given)
    assert "webhook_password" not in given
    assert delivers_with(hook, "chosen by Alice")


@on_sqlite
def test_a_day_is_kept_if_nothing_else_is_said_and_null_is_not_given(alice, hook):
    rotated = rotate(alice, hook, password=None)
    assert rotated["webhook_password"]
    left = datetime.fromisoformat(rotated[LAST]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=55) < left <= timedelta(hours=24)


def test_without_a_grace_the_old_password_is_refused_at_once(app, alice, hook):
    rotated = rotate(alice, hook, keep_previous_hours=0)
    assert rotated[LAST] is None
    assert stored(app).previous_webhook_password_set is False
    assert not delivers_with(hook, hook.password)
    assert delivers_with(hook, rotated["webhook_password"])


@on_sqlite
def test_only_the_last_password_is_kept(alice, hook):
    second = rotate(alice, hook)["webhook_password"]
    assert delivers_with(hook, second)
    third = rotate(alice, hook)["webhook_password"]
    assert [delivers_with(hook, password) for password in (hook.password, second, third)] == [False, True, True]


@on_sqlite
def test_an_expired_password_is_removed_by_the_next_change_which_says_so(app, alice, hook):
    rotate(alice, hook)
    kept = alice.client.patch(url_of(hook), json={"name": "Branch"}).json
    assert (kept["notices"], kept[LAST] is None) == ([], False)
    let_expire(app)
    assert stored(app).previous_webhook_password_set is True
    assert alice.client.patch(url_of(hook), json={}).json["notices"] == []
    changed = alice.client.patch(url_of(hook), json={"name": "HQ"}).json
    assert [notice["field"] for notice in changed["notices"]] == ["previous_webhook_password"]
    assert stored(app).previous_webhook_password_set is False
    assert events(alice, action="phone_system.updated")[0]["details"] == {
        "name": "HQ",
        "fields": ["name", "previous_webhook_password"],
    }


@pytest.mark.parametrize("password", ["chosen by Alice", None])
def test_an_ordinary_change_of_the_password_drops_the_previous_one_and_says_so(app, alice, hook, password):
    rotate(alice, hook)
    changed = alice.client.patch(url_of(hook), json={"webhook_password": password}).json
    assert [notice["field"] for notice in changed["notices"]] == ["previous_webhook_password"]
    assert changed[LAST] is None
    assert stored(app).previous_webhook_password_set is False
    assert not delivers_with(hook, hook.password)


def test_the_grace_can_be_ended_at_once(app, alice, hook):
    rotated = rotate(alice, hook)
    previous = f"{url_of(hook)}/webhook-password/previous"
    assert alice.client.delete(previous, query_string="version=1").status_code == 409
    assert delivers_with(hook, hook.password)
    for _ in range(2):
        assert alice.client.delete(previous).status_code == 204
    assert not delivers_with(hook, hook.password)
    assert delivers_with(hook, rotated["webhook_password"])
    now_shown = alice.client.get(url_of(hook)).json
    assert (now_shown[LAST], now_shown["version"]) == (None, 3)
    assert len(events(alice, action="previous_webhook_password.removed")) == 1


@on_sqlite
def test_a_phone_system_without_a_password_gets_one_and_keeps_none(app, alice, hook):
    alice.client.patch(url_of(hook), json={"webhook_password": None})
    rotated = rotate(alice, hook)
    assert rotated[LAST] is None
    assert events(alice, action="webhook_password.rotated")[0]["details"] == {
        "name": "HQ",
        "previous_accepted_until": None,
    }
    assert delivers_with(hook, rotated["webhook_password"])


def test_of_twenty_rotations_at_once_the_first_and_the_last_password_are_accepted(app, alice, hook):
    with ThreadPoolExecutor(20) as pool:
        rotations = list(pool.map(lambda _: rotate(alice, hook), range(20)))
    rotations.sort(key=lambda rotated: rotated["version"])
    assert [rotated["version"] for rotated in rotations] == list(range(2, 22))
    accepted = [delivers_with(hook, rotated["webhook_password"]) for rotated in rotations]
    assert accepted == [False] * 19 + [True]
    assert delivers_with(hook, hook.password), "which is the one that the PBX has"
    assert len(events(alice, action="webhook_password.rotated")) == 20


def test_of_rotations_of_one_version_at_once_one_wins_and_the_others_are_told(alice, hook):
    post = partial(alice.client.post, f"{url_of(hook)}/webhook-password", json={"version": 1})
    answers = all_at_once(*[post] * 5)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
    (won,) = [answer.json for answer in answers if answer.status_code == 200]
    assert delivers_with(hook, hook.password)
    assert delivers_with(hook, won["webhook_password"])


def test_while_it_is_rotated_no_delivery_is_lost(alice, hook):
    with ThreadPoolExecutor(4) as pool:
        deliveries = [pool.submit(hook.deliver) for _ in range(30)]
        rotate(alice, hook)
        assert {delivery.result().status_code for delivery in deliveries} <= ACCEPTED


def test_the_audit_trail_tells_at_once_which_password_was_used(app, alice, hook):
    assert delivers_with(hook, hook.password)
    rotated = rotate(alice, hook)
    for password in (hook.password, rotated["webhook_password"], hook.password):
        assert delivers_with(hook, password)
    new, old, before = events(alice, action="secret.used")
    assert [used["details"]["secret"] for used in (before, old, new)] == [
        "phone_systems.webhook_password",
        "phone_systems.previous_webhook_password",
        "phone_systems.webhook_password",
    ]
    since = [datetime.fromisoformat(used["details"]["changed_at"]) for used in (before, old, new)]
    assert since[0] < min(since[1:])
    assert since[2] == datetime.fromisoformat(rotated["webhook_password_changed_at"])
    with app.app_context():
        tally.store_counted()
    assert events(alice, action="secret.used")[0]["details"]["secret"] == "phone_systems.previous_webhook_password"


@on_sqlite
def test_a_rotation_is_recorded_without_a_password(alice, hook):
    rotated = rotate(alice, hook)
    (recorded,) = events(alice, action="webhook_password.rotated")
    assert recorded["object_id"] == rotated["id"]
    assert recorded["actor"]["name"] == rotated["webhook_password_changed_by"] == alice.email
    until = datetime.fromisoformat(recorded["details"]["previous_accepted_until"])
    assert until == datetime.fromisoformat(rotated[LAST])
    assert rotated["webhook_password"] not in json.dumps(events(alice))
    assert hook.password not in json.dumps(events(alice))


@on_sqlite
@pytest.mark.parametrize(
    ("body", "field"),
    [
        *[({"keep_previous_hours": hours}, "keep_previous_hours") for hours in (-1, 169, 1.5, "24", True, None)],
        *[({"password": password}, "password") for password in ("", 7, "x" * 4097)],
        *[({"version": version}, "version") for version in (0, "1", None)],
        ({"previous_webhook_password": "x"}, "previous_webhook_password"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(alice, hook, body, field):
    answer = alice.client.post(f"{url_of(hook)}/webhook-password", json=body)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)
    assert alice.client.get(url_of(hook)).json["version"] == 1
    assert delivers_with(hook, hook.password)


@on_sqlite
@pytest.mark.parametrize("days", [-1, 8])
def test_the_service_too_refuses_a_grace_that_is_too_long_or_negative(app, alice, hook, days):
    with in_database(app), pytest.raises(Invalid):
        phone_systems.rotate_webhook_password(
            db.session(),
            alice.tenant_id,
            UUID(hook.path.split("/")[3]),
            password=None,
            keep_previous=timedelta(days=days),
        )


@on_sqlite
def test_nobody_sets_the_previous_password_or_its_end_by_a_change(alice, hook):
    rotate(alice, hook)
    for name in ("previous_webhook_password", LAST, "grace_ends_at", "webhook_password_changed_by"):
        for value in (None, "x", "2030-01-31T12:00:00Z"):
            assert alice.client.patch(url_of(hook), json={name: value}).status_code == 422
            body = {"name": "PBX", "vendor": "asterisk", name: value}
            assert alice.client.post("/api/phone-systems", json=body).status_code == 422
    assert delivers_with(hook, hook.password)


@pytest.fixture
def work(app, monkeypatch):
    """What each delivery makes the service do: the first words of its statements, and how many values it opens."""
    done = []
    opened = sealed.open
    monkeypatch.setattr(sealed, "open", lambda *arguments: done.append("open") or opened(*arguments))
    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: done.append(arguments[2][:6]))
    return done


def test_the_work_shows_nobody_whether_a_password_was_rotated(app, alice, work):
    never, lately, long_ago = (make_hook(app, alice) for _ in range(3))
    for rotated in (long_ago, lately):
        rotate(alice, rotated)
        if rotated is long_ago:
            let_expire(app)
    seen = []
    for asked in (never, lately, long_ago):
        for credentials in (("wrong", "wrong"), ("", "wrong"), ("", "\0" * 24), ("wrong", "")):
            work.clear()
            assert asked.deliver(credentials=credentials).status_code == 401
            seen.append(sorted(work))
    assert seen == [seen[0]] * 12
    assert seen[0].count("open") == 2


def test_the_previous_password_alone_lets_nobody_in(app, alice, hook):
    """As after the key was forgotten that the other one was sealed under."""
    rotate(alice, hook)
    with in_database(app):
        db.session.execute(text("UPDATE phone_systems SET webhook_password_encrypted = NULL"))
        db.session.commit()
    assert not delivers_with(hook, hook.password)


def test_a_password_that_does_not_open_can_be_replaced_but_not_kept(app, alice, hook):
    with in_database(app):
        value = db.session.execute(text("SELECT webhook_password_encrypted FROM phone_systems")).scalar_one()
        tampered = value[:-4] + ("AAA=" if value.endswith("=") else "AAAA")
        db.session.execute(text("UPDATE phone_systems SET webhook_password_encrypted = :v"), {"v": tampered})
        db.session.commit()
    assert alice.client.post(f"{url_of(hook)}/webhook-password", json={}).status_code == 503
    rotated = rotate(alice, hook, keep_previous_hours=0)
    assert delivers_with(hook, rotated["webhook_password"])


def test_the_migration_keeps_every_secret_and_call_and_can_be_undone(app, alice, hook):
    assert delivers_with(hook, hook.password)
    second = rotate(alice, hook)["webhook_password"]
    with in_database(app):
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision="0010")
            left = {column["name"] for column in inspect(db.engine).get_columns("phone_systems")}
            assert set(PhoneSystem.__table__.columns.keys()) > left
        finally:
            flask_migrate.upgrade()
    shown = alice.client.get(url_of(hook)).json
    assert (shown["webhook_password_set"], shown["webhook_password_changed_by"], shown[LAST]) == (True, None, None)
    assert [delivers_with(hook, password) for password in (hook.password, second)] == [False, True]
    assert [str(call.phone_system_id) for call in hook.stored()] == [shown["id"]]
