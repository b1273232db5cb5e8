"""Call records that are older than their tenant keeps them: ``flask calls remove-old``."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import event, func, insert, inspect, select, update
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent
from app.calls import retention
from app.calls.models import Call
from app.database import now, uuid7
from app.extensions import db
from app.tenants import service as tenants
from app.tenants.models import Tenant
from tests.calls.conftest import RECORD, make_hook, store, store_legs
from tests.conftest import in_database
from tests.tenants.test_tenant import URL

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ago(days):
    return now() - timedelta(days=days)


def keep(person, days):
    answer = person.client.patch(URL, json={"call_retention_days": days})
    assert answer.status_code == 200, answer.json


def run(app, *options):
    return app.test_cli_runner().invoke(args=["calls", "remove-old", *options])


def ids(app):
    with in_database(app):
        return {str(id) for id in db.session.scalars(select(Call.id))}


def removals(app):
    """The events, newest last: of which tenant, and how many records."""
    with in_database(app):
        found = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "calls.removed").order_by("id"))
        return [(event.tenant_id, event.actor_type, event.details["records"]) for event in found]


def many(app, hook, person, count):
    """That many records of 40 days ago, a second apart."""
    first = ago(40)
    row = {name: getattr(RECORD, name) for name in RECORD.__dataclass_fields__}
    row |= {"tenant_id": person.tenant_id, "phone_system_id": hook.phone_system_id, "demonstration": False}
    with in_database(app):
        rows = [
            row | {"id": uuid7(), "record_key": f"old {n}", "started_at": first + timedelta(seconds=n)}
            for n in range(count)
        ]
        db.session.execute(insert(Call), rows)
        db.session.commit()


def test_what_is_older_than_a_tenant_keeps_it_goes_and_the_trail_says_how_much(app, hook, alice, charlie):
    theirs = make_hook(app, charlie)
    old = store_legs(app, hook, alice, {"started_at": ago(400)}, {"started_at": ago(32)})
    young = store_legs(app, hook, alice, {"started_at": ago(29)}, {"started_at": now()}, {"started_at": ago(-2)})
    others = store_legs(app, theirs, charlie, {"started_at": ago(400)})
    keep(alice, 30)
    done = run(app)
    assert done.exit_code == 0, done.output
    border = retention.border_of(30, ZoneInfo("UTC"), now())
    assert done.stdout == f"acme: 2 removed, from before {border:%Y-%m-%d} 00:00 UTC (30 days).\n"
    assert ids(app) == {*young, *others}
    assert removals(app) == [(alice.tenant_id, "operator", 2)]
    assert alice.client.get(f"/api/calls/{old[0]}").status_code == 404
    (told,) = alice.client.get("/api/audit-events?action=calls.removed").json["items"]
    assert told["details"] == {"records": 2, "kept_days": 30, "began_before": border.isoformat()}
    assert charlie.client.get("/api/audit-events?action=calls.removed").json["items"] == []


def test_nothing_goes_unasked_and_a_second_run_finds_nothing(app, hook, alice):
    stored = store_legs(app, hook, alice, {"started_at": ago(4000)})
    assert (run(app).stdout, ids(app)) == ("Nothing to remove.\n", set(stored))
    keep(alice, 30)
    assert run(app).stdout.startswith("acme: 1 removed")
    assert (run(app).stdout, ids(app)) == ("Nothing to remove.\n", set())
    assert len(removals(app)) == 1


def test_a_dry_run_tells_and_removes_nothing(app, hook, alice):
    stored = store_legs(app, hook, alice, {"started_at": ago(40)}, {"started_at": ago(41)})
    keep(alice, 30)
    done = run(app, "--dry-run")
    assert (done.exit_code, done.stdout.startswith("acme: 2 would be removed, from before ")) == (0, True)
    assert (ids(app), removals(app)) == (set(stored), [])


def test_it_is_done_for_one_tenant_alone_if_it_is_named(app, hook, alice, charlie):
    store_legs(app, hook, alice, {"started_at": ago(40)})
    theirs = store_legs(app, make_hook(app, charlie), charlie, {"started_at": ago(40)})
    keep(alice, 30)
    keep(charlie, 30)
    done = run(app, "--tenant", "acme")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert ids(app) == set(theirs)
    unknown = run(app, "--tenant", "nobody")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("Error: ")


@on_sqlite
def test_a_suspended_tenants_records_go_too(app, hook, alice):
    store_legs(app, hook, alice, {"started_at": ago(40)})
    keep(alice, 30)
    with in_database(app):
        tenants.set_suspended(db.session(), "acme", suspended=True)
    assert run(app).stdout.startswith("acme: 1 removed")


@on_sqlite
def test_each_leg_goes_by_itself_and_a_record_that_comes_again_is_stored_until_the_next_run(app, hook, alice):
    border = retention.border_of(30, ZoneInfo("UTC"), now())
    late = {"linked_id": "one call", "started_at": border - timedelta(seconds=1)}
    _, second = store_legs(app, hook, alice, late, {"linked_id": "one call", "started_at": border})
    keep(alice, 30)
    run(app)
    assert ids(app) == {second}
    assert store(app, hook, [replace(RECORD, record_key="leg 0", **late)], alice).new == 1
    assert len(ids(app)) == 2
    run(app)
    assert ids(app) == {second}


def test_days_go_as_a_whole_by_the_clock_of_the_tenant():
    at = datetime(2026, 4, 2, 3, tzinfo=UTC)
    berlin, york = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
    assert retention.border_of(7, ZoneInfo("UTC"), at) == datetime(2026, 3, 26, tzinfo=UTC)
    assert retention.border_of(7, york, at) == datetime(2026, 3, 25, 4, tzinfo=UTC), "there it is 1 April"
    assert retention.border_of(3, berlin, at) == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert retention.border_of(4, berlin, at) == datetime(2026, 3, 28, 23, tzinfo=UTC), "a day of 23 hours before"


def test_many_go_in_batches_each_a_transaction_with_its_event(app, hook, alice):
    many(app, hook, alice, 2 * retention.BATCH_ROWS + 3)
    keep(alice, 30)
    done = run(app)
    assert (done.exit_code, ids(app)) == (0, set())
    assert done.stdout.startswith(f"acme: {2 * retention.BATCH_ROWS + 3} removed")
    assert [count for _, _, count in removals(app)] == [retention.BATCH_ROWS, retention.BATCH_ROWS, 3]


def test_what_was_stopped_has_told_of_what_it_removed_and_goes_on_with_the_rest(app, hook, alice):
    many(app, hook, alice, retention.BATCH_ROWS + 3)
    keep(alice, 30)
    with in_database(app):
        (expiry,) = retention.expiries(db.session(), now())
        seen = []
        event.listen(db.engine, "before_cursor_execute", lambda *them: seen.append(them[2]))
        batches = retention.remove(db.session(), expiry)
        assert next(batches) == retention.BATCH_ROWS
        batches.close()
        db.session.rollback()
        assert sum(statement.startswith("DELETE FROM calls") for statement in seen) == 1
    assert (len(ids(app)), [count for _, _, count in removals(app)]) == (3, [retention.BATCH_ROWS])
    run(app)
    assert (ids(app), [count for _, _, count in removals(app)][1:]) == (set(), [3])


def test_a_batch_that_fails_leaves_its_records_and_no_event(app, hook, alice):
    stored = store_legs(app, hook, alice, {"started_at": ago(40)})
    keep(alice, 30)
    with in_database(app):
        (expiry,) = retention.expiries(db.session(), now())

        @event.listens_for(db.engine, "commit")
        def fail(connection):
            raise RuntimeError("pulled the plug")

        with pytest.raises(RuntimeError, match="pulled"):
            list(retention.remove(db.session(), expiry))
        event.remove(db.engine, "commit", fail)
        db.session.rollback()
        db.session.remove()
    assert (ids(app), removals(app)) == (set(stored), [])


@only_postgresql
def test_it_waits_for_nobody_and_nobody_for_it(app, hook, alice):
    """Beside it: somebody holds an old record, and a phone system delivers new ones, neither of them done."""
    held, *_ = store_legs(app, hook, alice, *({"started_at": ago(40 + n)} for n in range(3)))
    keep(alice, 30)
    with in_database(app):
        engine = db.engine
        (expiry,) = retention.expiries(db.session(), now())
        db.session.rollback()
        with Session(engine) as other:
            other.execute(update(Call).where(Call.id == held).values(caller_name="Held"))
            new = {name: getattr(RECORD, name) for name in RECORD.__dataclass_fields__}
            new |= {"tenant_id": alice.tenant_id, "phone_system_id": hook.phone_system_id, "started_at": now()}
            other.execute(insert(Call).values(id=uuid7(), demonstration=False, **new))
            db.session.connection().exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            batches = retention.remove(db.session(), expiry)
            assert list(batches) == [2]
            other.commit()
        assert db.session.scalar(select(func.count()).select_from(Call)) == 2
    assert run(app).stdout.startswith("acme: 1 removed")


def test_the_migration_keeps_what_there_is_for_ever_and_can_be_undone(app, alice):
    keep(alice, 30)
    with in_database(app):
        migrations = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision=migrations.get_revision("0019").down_revision)
            assert "call_retention_days" not in {column["name"] for column in inspect(db.engine).get_columns("tenants")}
        finally:
            flask_migrate.upgrade()
        assert db.session.scalars(select(Tenant.call_retention_days)).all() == [None] * 2
    keep(alice, 7)
