"""The row says whether the PBX uses its webhook password yet; one that it never used can be lost without a call."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import flask_migrate
import pytest
from sqlalchemy import event, text, update

from app.calls.models import Call
from app.database import now
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from app.tenancy import tenant_scope
from tests.calls.conftest import hook, make_hook
from tests.conftest import in_database, running
from tests.data import captured_body
from tests.phone_systems.test_webhook_password import (
    ACCEPTED,
    LAST,
    delivers_with,
    events,
    let_expire,
    on_sqlite,
    rotate,
    stored,
    url_of,
)
from tests.test_versions import all_at_once

__all__ = ["hook"]
USED = "webhook_password_used_at"
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def shown(person, hook):
    return person.client.get(url_of(hook)).json


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_password_that_was_lost_before_the_pbx_had_it_is_replaced_without_losing_a_call(app, alice, hook):
    assert delivers_with(hook, hook.password)
    lost = rotate(alice, hook, keep_previous_hours=2)
    assert lost[USED] is None
    assert delivers_with(hook, hook.password)
    assert shown(alice, hook)[USED] is None
    entered = rotate(alice, hook, keep_previous_hours=24)
    assert time_of(entered[LAST]) - datetime.now(UTC) > timedelta(hours=23, minutes=55)
    (recorded, _) = events(alice, action="webhook_password.rotated")
    assert time_of(recorded["details"]["previous_accepted_until"]) == time_of(entered[LAST])
    assert delivers_with(hook, hook.password)
    assert not delivers_with(hook, lost["webhook_password"])
    assert shown(alice, hook)[USED] is None
    assert delivers_with(hook, entered["webhook_password"])
    assert shown(alice, hook)[USED] is not None
    let_expire(app)
    assert [delivers_with(hook, password) for password in (hook.password, entered["webhook_password"])] == [False, True]


def test_a_shorter_time_does_not_shorten_that_of_the_password_that_stays(alice, hook):
    assert delivers_with(hook, hook.password)
    first = rotate(alice, hook, keep_previous_hours=24)
    assert rotate(alice, hook, keep_previous_hours=1)[LAST] == first[LAST]
    assert delivers_with(hook, hook.password)


def test_without_a_grace_the_one_that_the_pbx_has_is_dropped_too(app, alice, hook):
    assert delivers_with(hook, hook.password)
    second = rotate(alice, hook)["webhook_password"]
    third = rotate(alice, hook, keep_previous_hours=0)
    assert third[LAST] is None
    assert stored(app).previous_webhook_password_set is False
    passwords = hook.password, second, third["webhook_password"]
    assert [delivers_with(hook, password) for password in passwords] == [False, False, True]


@on_sqlite
def test_where_the_one_before_has_expired_the_unused_one_becomes_the_previous(app, alice, hook):
    second = rotate(alice, hook)["webhook_password"]
    let_expire(app)
    third = rotate(alice, hook)["webhook_password"]
    assert [delivers_with(hook, password) for password in (hook.password, second, third)] == [False, True, True]


def test_an_unused_password_that_does_not_open_is_replaced_and_the_one_that_the_pbx_has_stays(app, alice, hook):
    rotate(alice, hook)
    with in_database(app):
        value = db.session.execute(text("SELECT webhook_password_encrypted FROM phone_systems")).scalar_one()
        tampered = value[:-4] + ("AAA=" if value.endswith("=") else "AAAA")
        db.session.execute(text("UPDATE phone_systems SET webhook_password_encrypted = :v"), {"v": tampered})
        db.session.commit()
    third = rotate(alice, hook)["webhook_password"]
    assert [delivers_with(hook, password) for password in (hook.password, third)] == [True, True]


def test_where_the_unused_one_was_given_up_with_a_lost_key_the_one_before_it_is_not_revived(app, alice, hook):
    rotate(alice, hook)
    with in_database(app):
        db.session.execute(text("UPDATE phone_systems SET webhook_password_encrypted = NULL"))
        db.session.commit()
    assert not delivers_with(hook, hook.password)
    assert rotate(alice, hook)[LAST] is None
    assert not delivers_with(hook, hook.password)


def test_the_first_delivery_is_noted_once_and_is_no_change_that_anybody_made(alice, hook):
    before = shown(alice, hook)
    assert before[USED] is None
    assert not delivers_with(hook, "wrong")
    assert shown(alice, hook) == before
    began = datetime.now(UTC)
    assert hook.deliver(b"").status_code == 422, "the PBX has the password, whatever else it lacks"
    first = shown(alice, hook)
    assert began <= time_of(first[USED]) <= datetime.now(UTC)
    assert first == before | {USED: first[USED]}
    assert delivers_with(hook, hook.password)
    assert shown(alice, hook) == first
    assert alice.client.get("/api/phone-systems").json["items"] == [first]
    changed = alice.client.patch(url_of(hook), json={"name": "Branch", "version": before["version"]})
    assert (changed.status_code, changed.json[USED]) == (200, first[USED])


def test_only_the_first_delivery_writes(app, alice, hook):
    updates = []

    def note(connection, cursor, statement, *_):
        if statement.startswith("UPDATE phone_systems"):
            updates.append(statement)

    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", note)
    assert delivers_with(hook, hook.password)
    assert delivers_with(hook, hook.password)
    assert len(updates) == 1
    rotate(alice, hook)
    updates.clear()
    assert delivers_with(hook, hook.password)
    assert updates == []


def test_of_first_deliveries_at_once_one_is_noted_and_none_is_lost(app, alice, hook):
    answers = all_at_once(*[hook.deliver] * 8)
    assert {answer.status_code for answer in answers} <= ACCEPTED
    first = shown(alice, hook)
    assert (first[USED] is not None, first["version"]) == (True, 1)
    assert delivers_with(hook, hook.password)
    assert shown(alice, hook) == first


def test_first_deliveries_beside_changes_lose_neither(alice, hook):
    patch = partial(alice.client.patch, url_of(hook), json={"name": "Branch"})
    answers = all_at_once(*[hook.deliver] * 4, *[patch] * 4)
    assert {answer.status_code for answer in answers} <= ACCEPTED
    after = shown(alice, hook)
    assert (after["name"], after[USED] is not None) == ("Branch", True)


@pytest.mark.parametrize("password", ["chosen by Alice", None])
def test_a_change_of_the_password_and_its_removal_begin_anew(alice, hook, password):
    assert delivers_with(hook, hook.password)
    used = shown(alice, hook)[USED]
    assert alice.client.patch(url_of(hook), json={"webhook_username": "pbx2"}).json[USED] == used
    assert alice.client.patch(url_of(hook), json={"webhook_password": password}).json[USED] is None
    assert shown(alice, hook)[USED] is None


def test_a_password_that_is_set_once_more_counts_as_unused_until_the_next_delivery(alice, hook):
    assert delivers_with(hook, hook.password)
    assert alice.client.patch(url_of(hook), json={"webhook_password": hook.password}).json[USED] is None
    assert delivers_with(hook, hook.password)
    assert shown(alice, hook)[USED] is not None


def test_a_use_that_a_session_has_not_seen_is_known_when_the_password_is_rotated(app, alice, hook):
    """As where a page shows the row before it changes it."""
    second = rotate(alice, hook)["webhook_password"]
    row_id = hook.phone_system_id
    with app.app_context(), tenant_scope(alice.tenant_id):
        read = phone_systems.get(db.session(), alice.tenant_id, row_id)
        db.session.commit()
        assert in_a_thread(partial(delivers_with, hook, second))
        assert read.webhook_password_used_at is None
        options = {"password": "third, chosen", "keep_previous": timedelta(hours=1)}
        phone_systems.rotate_webhook_password(db.session(), alice.tenant_id, row_id, **options)
    passwords = hook.password, second, "third, chosen"
    assert shown(alice, hook)[USED] is None
    assert [delivers_with(hook, password) for password in passwords] == [False, True, True]


def test_a_use_that_a_session_has_not_seen_does_not_stay_with_another_password(app, alice, hook):
    with in_database(app):
        read = db.session.get_one(PhoneSystem, hook.phone_system_id)
        db.session.commit()
        assert in_a_thread(partial(delivers_with, hook, hook.password))
        read.webhook_password = "another"
        db.session.commit()
    assert shown(alice, hook)[USED] is None


def in_a_thread(work):
    """What it returns, from a thread of its own: in this one there is an application context."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]


def overtaken_by(app, work):
    """Before the next delivery notes that it was the first, something else is done. What that returns comes into the
    list. On SQLite, which has one writer at a time, nothing overtakes a delivery."""
    done = []

    def overtake(connection, cursor, statement, *_):
        if statement.startswith("UPDATE phone_systems") and not done:
            done.append(None)
            done[0] = in_a_thread(work)

    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", overtake)
    return done


@on_postgresql
def test_a_delivery_that_a_rotation_overtakes_does_not_mark_the_new_password_as_used(app, alice, hook):
    done = overtaken_by(app, partial(rotate, alice, hook))
    assert delivers_with(hook, hook.password)
    assert (shown(alice, hook)[USED], shown(alice, hook)["version"]) == (None, 2)
    assert delivers_with(hook, done[0]["webhook_password"])
    assert shown(alice, hook)[USED] is not None


@on_postgresql
def test_of_two_first_deliveries_the_faster_one_is_noted(app, alice, hook):
    def deliver_first():
        assert delivers_with(hook, hook.password)
        return shown(alice, hook)

    done = overtaken_by(app, deliver_first)
    assert delivers_with(hook, hook.password)
    assert done[0][USED] is not None
    assert shown(alice, hook) == done[0]


def test_rotating_the_encryption_key_leaves_it_as_it_is(app, settings, alice, hook):
    assert delivers_with(hook, hook.password)
    unused = make_hook(app, alice)
    before = [shown(alice, one) for one in (hook, unused)]
    keyring = Keyring(MasterKey(bytes(range(32))), [settings.keyring.primary])
    with running(replace(settings, keyring=keyring)) as both:
        assert both.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
    app.extensions["encryption"].keyring = keyring
    assert [shown(alice, one) for one in (hook, unused)] == before
    assert delivers_with(unused, unused.password)
    assert shown(alice, unused)[USED] is not None


@on_sqlite
def test_nobody_sets_it_by_a_change(alice, hook):
    for value in (None, "2030-01-31T12:00:00Z"):
        assert alice.client.patch(url_of(hook), json={USED: value}).status_code == 422
        body = {"name": "PBX", "vendor": "asterisk", USED: value}
        assert alice.client.post("/api/phone-systems", json=body).status_code == 422


def test_the_migration_finds_the_first_use_in_the_calls_since_the_password_was_set(app, alice):
    delivered, before, demonstration, never, removed = hooks = [make_hook(app, alice) for _ in range(5)]
    for one in (delivered, before, demonstration, removed):
        assert delivers_with(one, one.password)
    alice.client.patch(url_of(removed), json={"webhook_password": None})
    assert delivered.deliver(captured_body("asterisk/busy.http")).status_code == 201
    with in_database(app):
        of_one = {one: Call.phone_system_id == one.phone_system_id for one in hooks}
        db.session.execute(update(Call).where(of_one[before]).values(received_at=now() - timedelta(days=1)))
        db.session.execute(update(Call).where(of_one[demonstration]).values(demonstration=True))
        db.session.commit()
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision="0010")
        finally:
            flask_migrate.upgrade()
    first = min(call.received_at for call in delivered.stored() if call.phone_system_id == delivered.phone_system_id)
    assert time_of(shown(alice, delivered)[USED]) == first
    assert [shown(alice, one)[USED] for one in (before, demonstration, never, removed)] == [None] * 4
