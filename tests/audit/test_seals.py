"""Whoever alters the audit trail is found out."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from app.audit import seals, service
from app.audit.models import AuditEvent, AuditSeal
from app.database import now, uuid7
from app.encryption.keyring import Keyring, MasterKey
from app.errors import Conflict
from app.extensions import db
from tests.conftest import in_database, running

OTHER = MasterKey(bytes(range(32)))
MONTH = timedelta(days=30)


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
    return seals.verify(session, MONTH, digest).problems


def seal_at(session, monkeypatch, moment):
    """As if it were run then."""
    with monkeypatch.context() as then:
        then.setattr(seals, "now", lambda: moment)
        then.setattr(seals, "LAG", moment - now() - timedelta(seconds=1))
        return seals.seal(session)


def damage(session, number, content=None):
    """Remove what the seal holds, as `flask encryption forget` does, or put something else there."""
    table = AuditSeal.__table__
    values = {"content_encrypted": content} if content else {"content_encrypted": None, "content_changed_at": None}
    session.connection().execute(update(table).where(table.c.number == number).values(values))
    session.commit()
    session.expunge_all()


def test_what_was_not_altered_verifies_across_seals_and_tenants(session, alice):
    happen(session, 3)
    first = seals.seal(session)
    happen(session, 2, alice.tenant_id)
    second = seals.seal(session)
    assert (second.number, second.events, second.previous) == (2, 2, first.digest)
    assert seals.seal(session) is None
    happen(session, 1)
    verified = seals.verify(session, MONTH, first.digest)
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
    assert problems(session) == ["Seal 2 is missing.", "Seal 3 was altered, or made elsewhere."]


def test_what_has_expired_is_removed_and_later_events_still_verify(session, monkeypatch):
    happen(session, 2)
    old = seal_at(session, monkeypatch, now() - timedelta(days=31))
    happen(session, 1)
    new = seals.seal(session)
    assert seals.expire(session, MONTH) == (1, 2)
    assert seals.expire(session, MONTH) == (0, 0)
    verified = seals.verify(session, MONTH, old.digest)
    assert (verified.events, verified.problems) == (1, [])
    assert problems(session, new.digest) == []


def test_no_date_in_the_database_makes_events_expire(session):
    happen(session, 2)
    seals.seal(session)
    session.execute(update(AuditSeal).values(sealed_at=now() - timedelta(days=3000)))
    session.commit()
    assert seals.expire(session, MONTH) == (0, 0)
    assert seals.verify(session, MONTH).events == 2


def test_what_was_removed_before_its_time_or_out_of_order_is_found(session):
    for _ in range(2):
        happen(session, 1)
        seals.seal(session)
    first, second = session.scalars(select(AuditSeal).order_by(AuditSeal.number))
    session.execute(delete(AuditEvent))
    second.content = second.content | {"expired": True}
    session.commit()
    assert problems(session) == [
        "Seal 1 was made for 1 events, but there are 0.",
        "Seal 2: its events were removed before their time.",
        "Seal 2: its events were removed, but not those before them.",
    ]
    first.content = first.content | {"expired": True}
    session.commit()
    assert seals.verify(session, timedelta(0)).problems == []


@pytest.mark.parametrize("content", [None, "corrupt"])
def test_sealing_goes_on_after_a_seal_that_does_not_open_and_the_break_is_reported(app, session, monkeypatch, content):
    for _ in range(2):
        happen(session, 1)
        first = seal_at(session, monkeypatch, now() - timedelta(days=31))
    stored = session.scalars(select(AuditSeal).where(AuditSeal.number == 2)).one()
    damage(session, 2, content and stored.content_encrypted[:-6] + "AAAAA=")
    happen(session, 1)
    session.rollback()
    said = app.test_cli_runner().invoke(args=["audit", "seal"])
    assert said.exit_code == 0, said.exception
    assert "Before seal 3 there is a break" in said.output
    assert "Seal 3: 2 events" in said.output
    happen(session, 1)
    assert seals.seal(session).follows == 3
    assert seals.expire(session, MONTH) == (1, 1)
    assert problems(session) == ["Seal 2 was altered, or made elsewhere."]
    damage(session, 3)
    assert problems(session) == [f"Seal {number} was altered, or made elsewhere." for number in (2, 3)]
    assert first.number == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_event_that_is_not_committed_yet_is_waited_for(session, monkeypatch):
    monkeypatch.setattr(seals, "LONGEST_WAIT_SECONDS", 0)
    happen(session, 1)
    with Session(db.engine) as late:
        service.record(late, "thing.happened")
        happen(session, 1)
        with pytest.raises(Conflict, match="does not end"):
            seals.seal(session)
        late.commit()
    assert seals.seal(session).events == 3
    assert problems(session) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_seal_is_verified_by_the_columns_that_there_were(session, monkeypatch):
    assert set(seals._COLUMNS[max(seals._COLUMNS)]) == {column.name for column in AuditEvent.__table__.columns}
    happen(session, 1)
    seals.seal(session)
    monkeypatch.setitem(seals._COLUMNS, max(seals._COLUMNS) + 1, ("id", "action"))
    happen(session, 1)
    assert seals.seal(session).version == max(seals._COLUMNS)
    assert problems(session) == []


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
        assert seals.verify(db.session(), MONTH, digest).problems == []
        told = {event.action: event.details for event in db.session.scalars(select(AuditEvent))}
        assert told["encryption_key.retired"] == {"key_id": old}
        assert told["encryption_key.rotated"]["key_id"] == OTHER.id
