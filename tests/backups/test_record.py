"""`flask backup check --record`, and what is then known of the last checked backup."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from app.audit.models import AuditEvent
from app.backups.service import last_checked_backup
from app.database import now
from app.encryption.keyring import Keyring
from app.extensions import db
from app.tenancy import ScopeError
from tests.backups.conftest import Dumps, app_with, new_key, run
from tests.conftest import in_database, make_settings, running


@pytest.fixture
def service(dumps: Dumps, database_url):
    """The service with the keys of the dumps, and a database of its own."""
    with running(make_settings(database_url, keyring=Keyring(dumps.sample.new, [dumps.sample.old]))) as app:
        yield app


def events(app) -> list[AuditEvent]:
    with in_database(app):
        return list(db.session.scalars(select(AuditEvent).order_by(AuditEvent.id)))


def test_a_usable_backup_is_recorded_with_counts_key_ids_and_how_far_it_goes(dumps: Dumps, service, pg_programs):
    with in_database(service):
        assert last_checked_backup(db.session()) is None
    for _ in range(2):
        assert run(service, "-", "--record", stdin=dumps.make("-Fc")).exit_code == 0
    first, second = events(service)
    assert (second.tenant_id, second.action, second.outcome) == (None, "backup.checked", "success")
    assert second.actor_type == "operator"
    newest = second.details.pop("newest_event_at")
    assert newest.startswith("20")
    assert second.details == {
        "kind": "PostgreSQL dump, custom format",
        "opened": dumps.sample.values,
        "key_ids": sorted([dumps.sample.old.id, dumps.sample.new.id]),
    }
    with in_database(service):
        last = last_checked_backup(db.session())
    assert last == (second.occurred_at, datetime.fromisoformat(newest))
    assert last.at > first.occurred_at
    assert timedelta() < now() - last.at < timedelta(minutes=10)


def test_it_is_asked_for_in_the_systems_scope(service):
    with service.app_context(), pytest.raises(ScopeError):
        last_checked_backup(db.session())


def test_without_being_asked_nothing_is_recorded(dumps: Dumps, service):
    assert run(service, "-", stdin=dumps.make()).exit_code == 0
    assert events(service) == []


def test_a_backup_that_cannot_be_used_is_not_recorded(dumps: Dumps, service):
    for stdin in (b"", dumps.make()[:-100], dumps.make("--exclude-table-data=users")):
        assert run(service, "-", "--record", stdin=stdin).exit_code == 1
    assert events(service) == []


def test_what_cannot_be_recorded_is_told_after_the_report(dumps: Dumps):
    result = run(app_with(dumps.sample.new, dumps.sample.old), "-", "--record", stdin=dumps.make())
    assert result.exit_code == 1
    assert "This backup can be used." in result.stdout
    assert "The database cannot be used: PostgreSQL on 127.0.0.1:1, nothing" in result.stderr


def test_with_other_keys_nothing_is_recorded_either(dumps: Dumps, database_url):
    with running(make_settings(database_url, keyring=Keyring(new_key()))) as app:
        assert run(app, "-", "--record", stdin=dumps.make()).exit_code == 1
        assert events(app) == []
