"""Whoever alters the audit trail is found out."""

import pytest
from sqlalchemy import text

from app.audit import seals, service
from app.database import now
from app.encryption.keyring import MasterKey
from app.extensions import db
from tests.conftest import in_database

OTHER = MasterKey(bytes(range(32)))


@pytest.fixture
def session(app):
    with in_database(app):
        yield db.session()


def happen(session, count, tenant_id=None):
    """Events that are old enough to be sealed."""
    for number in range(count):
        service.record(session, "thing.happened", details={"number": number}, tenant_id=tenant_id)
    for event in list(session.new):
        event.occurred_at = now() - seals.LAG * 2
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
    service.record(session, "thing.happened")
    session.commit()
    assert (second.number, second.events, second.previous) == (2, 2, first.digest)
    assert seals.seal(session) is None
    verified = seals.verify(session, first.digest)
    # And three of the sessions that the cast began.
    assert (verified.seals, verified.events, verified.problems) == (2, 5 + 3, [])
