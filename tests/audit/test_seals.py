"""Whoever alters the audit trail is found out."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, text, update

from app.audit import seals, service
from app.audit.models import AuditEvent, AuditSeal
from app.database import now, uuid7
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from tests.conftest import in_database, running

OTHER = MasterKey(bytes(range(32)))


@pytest.fixture(autouse=True)
def no_lag(request, monkeypatch):
    """What happens in a test is old enough to be sealed."""
    if "young" not in request.function.__name__:
        monkeypatch.setattr(seals, "LAG", timedelta(seconds=-1))


@pytest.fixture
def session(app):
    with in_database(app):
        yield db.session()


def happen(session, count, tenant_id=None):
    for number in range(count):
        service.record(session, "thing.happened", details={"number": number}, tenant_id=tenant_id)
    session.commit()


def owner_alters(session, statement):
    """As somebody who owns the table does, past the trigger."""
    on_postgresql = session.connection().dialect.name == "postgresql"
    session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER append_only" if on_postgresql else DROP))
    session.connection().execute(statement)
    if on_postgresql:
        session.execute(text("ALTER TABLE audit_events ENABLE TRIGGER append_only"))
    session.commit()


DROP = "DROP TRIGGER append_only"


def problems(session, digest=None):
    return seals.verify(session, digest).problems


def test_what_was_not_altered_verifies_across_seals_and_tenants(session, alice):
    happen(session, 3)
    first = seals.seal(session)
    happen(session, 2, alice.tenant_id)
    second = seals.seal(session)
    assert (second.number, second.events, second.previous) == (2, 2, first.digest)
    assert seals.seal(session) is None
    happen(session, 1)
    verified = seals.verify(session, first.digest)
    # And three of the sessions that the cast began.
    assert (verified.seals, verified.events, verified.problems) == (2, 5 + 3, [])
    assert verified.unsealed >= 1


def test_a_changed_a_removed_and_an_added_event_are_found(session):
    happen(session, 3)
    seals.seal(session)
    events = AuditEvent.__table__
    ids = list(session.scalars(select(AuditEvent.id).order_by(AuditEvent.id)))
    row = dict(session.execute(select(events).where(events.c.id == ids[1])).mappings().one())
    owner_alters(session, update(events).where(events.c.id == ids[1]).values(actor_name="somebody else"))
    assert problems(session) == ["Seal 1: at least one of its 3 events was altered."]
    owner_alters_again = delete(events).where(events.c.id == ids[1])
    session.connection().execute(owner_alters_again)
    session.commit()
    assert problems(session) == ["Seal 1 was made for 3 events, but there are 2."]
    session.connection().execute(insert(events).values(**row))
    session.commit()
    assert problems(session) == []


def test_a_removed_and_a_forged_seal_are_found(session):
    made = []
    for _ in range(3):
        happen(session, 1)
        made.append(seals.seal(session))
    newest = session.scalars(select(AuditSeal).where(AuditSeal.number == 3)).one()
    copied = newest.content_encrypted
    session.delete(newest)
    session.commit()
    assert problems(session) == []  # nobody can tell without the digest that was kept
    assert problems(session, made[2].digest) == ["No seal has the digest that was given: seals were removed."]
    forged = insert(AuditSeal.__table__).values(
        id=uuid7(), number=3, sealed_at=now(), content_encrypted=copied, content_changed_at=now()
    )
    session.connection().execute(forged)
    session.commit()
    assert problems(session) == ["Seal 3 was altered, or made elsewhere."]
    session.connection().execute(delete(AuditSeal.__table__).where(AuditSeal.__table__.c.number == 2))
    session.commit()
    assert problems(session) == ["Seal 2 is missing."]


def test_what_has_expired_is_removed_and_later_events_still_verify(session):
    happen(session, 2)
    old = seals.seal(session)
    session.execute(update(AuditSeal).values(sealed_at=now() - timedelta(days=31)))
    session.commit()
    happen(session, 1)
    new = seals.seal(session)
    assert seals.expire(session, timedelta(days=30)) == (1, 2)
    assert seals.expire(session, timedelta(days=30)) == (0, 0)
    verified = seals.verify(session, old.digest)
    assert (verified.events, verified.problems) == (1, [])
    assert problems(session, new.digest) == []


def test_young_events_wait_for_transactions_that_are_still_open(session):
    service.record(session, "thing.happened")
    session.commit()
    assert seals.seal(session) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_commands_seal_verify_and_list(app, session, alice):
    run = app.test_cli_runner().invoke
    happen(session, 2, alice.tenant_id)
    session.rollback()
    sealed = run(args=["audit", "seal"]).output
    assert sealed.startswith("Seal 1: ")
    digest = sealed.split()[-1]
    intact = run(args=["audit", "verify", "--digest", digest])
    assert (intact.exit_code, intact.output.splitlines()[-1]) == (0, "Nothing was altered.")
    altered = run(args=["audit", "verify", "--digest", "0" * 64])
    assert (altered.exit_code, "seals were removed" in altered.output) == (1, True)
    listed = run(args=["audit", "list", "--tenant", "acme", "--action", "thing.happened"])
    assert [line.count('"thing.happened"') for line in listed.output.splitlines()] == [1, 1]
    assert run(args=["audit", "list", "--tenant", "unknown"]).exit_code == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_seals_outlive_a_rotation_of_the_master_key(app, settings):
    with in_database(app):
        happen(db.session(), 2)
        digest = seals.seal(db.session()).digest
    with running(replace(settings, keyring=Keyring(OTHER, [settings.keyring.primary]))) as rotated:
        assert rotated.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
        old = settings.keyring.primary.id
        assert rotated.test_cli_runner().invoke(args=["encryption", "retire", old]).exit_code == 0
    with running(replace(settings, keyring=Keyring(OTHER))) as later, in_database(later):
        assert seals.verify(db.session(), digest).problems == []
        told = {event.action: event.details for event in db.session.scalars(select(AuditEvent))}
        assert told["encryption_key.retired"] == {"key_id": old}
        assert told["encryption_key.rotated"]["key_id"] == OTHER.id
