"""Which leg stands for a call, in whatever order, and however many at once, the legs are delivered."""

import threading
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text, update

from app.calls.models import Call
from app.calls.service import store_records
from app.extensions import db
from tests.calls.conftest import NOON, RECORD, make_hook, store
from tests.conftest import in_database


def leg(key, minutes=0, **values):
    return replace(RECORD, record_key=key, started_at=NOON + timedelta(minutes=minutes), **values)


RANG = leg("rang", disposition="no_answer", talk_seconds=7)
ANSWERED = leg("answered", 1, disposition="answered", talk_seconds=60)
HANDED_ON = leg("handed on", 2, disposition="answered", talk_seconds=90)
MAILBOX = leg("mailbox", 3, disposition="voicemail", talk_seconds=500)


def shown(hook):
    return {it.record_key: (it.opens_call, it.call_disposition, it.call_talk_seconds) for it in hook.stored()}


TIED = {
    "rang": (True, "answered", 90),
    "answered": (False, "answered", 90),
    "handed on": (False, "answered", 90),
    "mailbox": (False, "answered", 90),
}


@pytest.mark.parametrize("order", list(permutations([RANG, ANSWERED, HANDED_ON, MAILBOX])))
def test_the_earliest_leg_stands_for_the_call_in_whatever_order_they_come(app, hook, alice, order):
    for record in order:
        store(app, hook, [record], alice)
    assert shown(hook) == TIED


def test_legs_of_one_delivery_are_tied_too(app, hook, alice):
    store(app, hook, [MAILBOX, HANDED_ON, RANG, ANSWERED], alice)
    assert shown(hook) == TIED


def test_what_is_delivered_again_changes_nothing(app, hook, alice):
    for _ in range(2):
        store(app, hook, [RANG, ANSWERED, HANDED_ON, MAILBOX], alice)
        store(app, hook, [HANDED_ON], alice)
    assert shown(hook) == TIED


def test_a_leg_by_itself_says_what_became_of_the_call(app, hook, alice):
    store(app, hook, [RANG, replace(ANSWERED, linked_id=None), replace(HANDED_ON, linked_id=None)], alice)
    assert set(shown(hook).values()) == {(True, None, None)}


@pytest.mark.parametrize(
    ("dispositions", "became"),
    [
        (("no_answer", "voicemail", "busy"), "voicemail"),
        (("no_answer", "busy", "failed"), "busy"),
        (("failed", "no_answer"), "no_answer"),
        (("other", "failed"), "failed"),
        (("other", "other"), "other"),
    ],
)
def test_of_a_call_that_nobody_answered_it_is_told_how_far_it_came(app, hook, alice, dispositions, became):
    store(app, hook, [leg(str(n), n, disposition=it, talk_seconds=5) for n, it in enumerate(dispositions)], alice)
    assert {(disposition, talk) for _, disposition, talk in shown(hook).values()} == {(became, None)}


def test_the_same_name_at_another_phone_system_is_another_call(app, hook, alice):
    other = make_hook(app, alice)
    store(app, hook, [RANG], alice)
    store(app, other, [ANSWERED], alice)
    assert set(shown(hook).values()) == {(True, None, None)}


def test_legs_that_arrive_at_the_same_moment_are_tied(app, hook, alice):
    """Each on a connection of its own, several calls at once and in each order: nobody waits in a circle."""
    calls = [f"call {number}" for number in range(6)]
    barrier, failures = threading.Barrier(6), []

    def deliver(number):
        records = [leg(f"{call} {number}", number, linked_id=call) for call in calls]
        try:
            with in_database(app):
                barrier.wait(30)
                for record in records if number % 2 else reversed(records):
                    store_records(db.session(), alice.tenant_id, hook.phone_system_id, [record])
                store_records(
                    db.session(),
                    alice.tenant_id,
                    hook.phone_system_id,
                    [
                        replace(record, record_key=str(uuid4()), started_at=NOON + timedelta(hours=1))
                        for record in records
                    ],
                )
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    opening = [it for it in hook.stored() if it.opens_call]
    assert sorted(it.linked_id for it in opening) == calls
    assert {it.started_at for it in opening} == {NOON}


def test_what_the_release_before_has_stored_is_put_right_by_the_next_leg(app, hook, alice):
    store(app, hook, [RANG, ANSWERED], alice)
    with in_database(app):
        db.session.execute(update(Call).values(opens_call=True, call_disposition=None, call_talk_seconds=None))
        db.session.commit()
    store(app, hook, [HANDED_ON, MAILBOX], alice)
    assert shown(hook) == TIED


def test_a_migration_ties_the_legs_that_are_there(app, hook, alice):
    records = [MAILBOX, HANDED_ON, RANG, ANSWERED, replace(RANG, record_key="other", linked_id="2")]
    store(app, hook, [*records, replace(RANG, record_key="of none", linked_id=None)], alice)
    before = shown(hook)
    with in_database(app):
        scripts = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        tie = scripts.get_revision("0020").module.TIE
        db.session.execute(update(Call).values(opens_call=True, call_disposition=None, call_talk_seconds=None))
        db.session.execute(text(tie))
        db.session.commit()
    assert shown(hook) == before == TIED | {"other": (True, None, None), "of none": (True, None, None)}
