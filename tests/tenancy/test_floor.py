"""What PostgreSQL stops although the ORM does not see it: each hole is tried, and lets nobody through.

Alice and Charlie have a phone system each; everything here works for Alice's tenant.
"""

from pathlib import Path

import pytest
from sqlalchemy import delete, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from app.database import now, uuid7
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import ScopeError, current_tenant, system_scope, tenant_scope
from app.tenants.models import Tenant
from tests.conftest import in_database
from tests.tenancy.conftest import only_postgresql

pytestmark = only_postgresql

TABLE = PhoneSystem.__table__
MOVE = "UPDATE phone_systems SET tenant_id = :to WHERE id = :id"
COUNT = text("SELECT count(*) FROM phone_systems")
ROLE_AND_TENANT = text("SELECT current_user, current_setting('app.tenant_id', true)")

READING = {
    "text()": lambda: db.session.execute(text("SELECT id FROM phone_systems")).scalars().all(),
    "a Core table": lambda: db.session.execute(select(TABLE.c.id)).scalars().all(),
    "a Core table on the connection": lambda: db.session.connection().execute(select(TABLE.c.id)).scalars().all(),
    "text() for objects": lambda: [
        row.id for row in db.session.scalars(select(PhoneSystem).from_statement(text("SELECT * FROM phone_systems")))
    ],
    "the driver's own cursor": lambda: [
        row for (row,) in db.session.connection().connection.cursor().execute("SELECT id FROM phone_systems").fetchall()
    ],
    "the engine": lambda: [row for (row,) in _on_engine("SELECT id FROM phone_systems")],
    "a cursor": lambda: [row for (row,) in _on_engine("DECLARE c CURSOR FOR TABLE phone_systems", "FETCH ALL c")],
}


def _on_engine(*statements):
    with db.engine.connect() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
        return [row[:1] for row in result]


def test_reading_past_the_orm_sees_the_scopes_tenant_alone(app, stored, in_scope):
    assert {name: read() for name, read in READING.items()} == {name: [stored.ours] for name in READING}


def test_reading_past_the_orm_without_a_scope_sees_no_row(app, stored):
    with app.app_context():
        assert {name: read() for name, read in READING.items()} == {name: [] for name in READING}


def test_of_the_tenants_only_the_scopes_own_is_seen(app, stored, alice):
    with app.app_context():
        assert db.session.scalars(select(Tenant.id)).all() == []
        with tenant_scope(alice.tenant_id):
            assert db.session.scalars(select(Tenant.id)).all() == [alice.tenant_id]


def values(tenant):
    made = {"id": uuid7(), "name": "crossed", "vendor": "asterisk", "created_at": now(), "updated_at": now()}
    return made | {"tenant_id": tenant}


def other_tenant():
    with system_scope():
        return db.session.scalar(select(Tenant.id).where(Tenant.subdomain == "others"))


def row_of(stored):
    return {"id": stored.theirs, "name": "crossed", "version": 1}


# Each would write to Charlie's row, or a row for him, if nothing but the application kept tenants apart.
WRITING = {
    "text()": lambda stored: db.session.execute(text("UPDATE phone_systems SET name = 'crossed' WHERE name = 'PBX'")),
    "a Core update": lambda stored: db.session.execute(update(TABLE).values(name="crossed")),
    "a Core delete": lambda stored: db.session.execute(delete(TABLE)),
    "a Core insert": lambda stored: db.session.execute(insert(TABLE), values(other_tenant())),
    "a legacy bulk insert": lambda stored: db.session.bulk_insert_mappings(PhoneSystem, [values(other_tenant())]),
    "a legacy bulk save": lambda stored: db.session.bulk_save_objects([PhoneSystem(**values(other_tenant()))]),
    "a legacy bulk update": lambda stored: db.session.bulk_update_mappings(PhoneSystem, [row_of(stored)]),
    "a row moved away": lambda stored: db.session.execute(text(MOVE), {"to": other_tenant(), "id": stored.ours}),
    "a row moved here": lambda stored: db.session.execute(text(MOVE), {"to": current_tenant(), "id": stored.theirs}),
    "a conflicting insert": lambda stored: db.session.execute(
        text(
            "INSERT INTO phone_systems SELECT * FROM phone_systems"
            " ON CONFLICT (id) DO UPDATE SET tenant_id = '00000000-0000-0000-0000-000000000000'"
        )
    ),
    "all at once": lambda stored: db.session.execute(text("TRUNCATE phone_systems CASCADE")),
}


@pytest.mark.parametrize("write", WRITING.values(), ids=WRITING.keys())
def test_writing_past_the_orm_does_not_reach_another_tenant(app, stored, alice, write):
    before = their_row(app, stored)
    with app.app_context(), tenant_scope(alice.tenant_id):
        try:
            write(stored)
            db.session.commit()
        except (DBAPIError, StaleDataError):
            db.session.rollback()
    assert their_row(app, stored) == before
    with in_database(app):
        owners = select(TABLE.c.tenant_id).where(TABLE.c.id != stored.theirs)
        assert set(db.session.scalars(owners)) <= {alice.tenant_id}


def their_row(app, stored):
    with in_database(app):
        return tuple(db.session.execute(select(TABLE).where(TABLE.c.id == stored.theirs)).one())


def test_a_foreign_key_cannot_reach_across(app, stored, alice):
    call = "INSERT INTO calls (id, tenant_id, phone_system_id, record_key, source, destination, started_at,"
    call += " duration_seconds, talk_seconds, disposition, details, demonstration, received_at)"
    call += " VALUES (:id, :tenant, :theirs, '1', '1', '2', now(), 1, 1, 'answered', '{}', false, now())"
    with app.app_context(), tenant_scope(alice.tenant_id), pytest.raises(DBAPIError, match="foreign key"):
        db.session.execute(text(call), {"id": uuid7(), "tenant": alice.tenant_id, "theirs": stored.theirs})


def test_a_savepoints_rollback_leaves_the_right_tenant_in_force(app, stored, in_scope):
    """PostgreSQL takes back what was set after the savepoint, and what it was before comes back in force."""
    with system_scope():
        savepoint = db.session.begin_nested()
        assert db.session.scalar(COUNT) == 2
    assert db.session.scalar(COUNT) == 1
    savepoint.rollback()
    assert db.session.scalar(COUNT) == 1
    with system_scope():
        assert db.session.scalar(COUNT) == 2


def test_a_savepoint_that_failed_leaves_the_right_tenant_in_force(app, stored, in_scope):
    for _ in range(2):
        savepoint = db.session.begin_nested()
        with system_scope():
            assert db.session.scalar(COUNT) == 2
            with pytest.raises(DBAPIError, match="division"):
                db.session.execute(text("SELECT 1 / 0"))
        savepoint.rollback()
        assert db.session.scalar(COUNT) == 1


def test_a_savepoint_made_by_hand_leaves_the_right_tenant_in_force(app, stored, in_scope):
    with system_scope():
        db.session.execute(text("SAVEPOINT here"))
        assert db.session.scalar(COUNT) == 2
    assert db.session.scalar(COUNT) == 1
    db.session.execute(text("rollback to here"))
    assert db.session.scalar(COUNT) == 1


def test_a_savepoint_that_is_released_leaves_the_right_tenant_in_force(app, stored, in_scope):
    with db.session.begin_nested(), system_scope():
        assert db.session.scalar(COUNT) == 2
    assert db.session.scalar(COUNT) == 1


def test_the_tenant_cannot_change_inside_an_open_transaction(app, stored, alice, charlie):
    with app.app_context(), db.engine.connect() as connection:
        with tenant_scope(alice.tenant_id):
            assert connection.scalar(COUNT) == 1
        assert connection.scalar(COUNT) == 0
        with tenant_scope(charlie.tenant_id), pytest.raises(ScopeError):
            connection.scalar(COUNT)
        connection.rollback()
        with tenant_scope(charlie.tenant_id):
            assert connection.scalars(select(TABLE.c.id)).all() == [stored.theirs]


def test_the_next_tenant_on_a_pooled_connection_finds_nothing_of_the_last(app, stored, alice, charlie):
    seen = []
    with app.app_context():
        for tenant in (alice.tenant_id, charlie.tenant_id, None, alice.tenant_id):
            scope = system_scope() if tenant is None else tenant_scope(tenant)
            with scope, db.engine.connect() as connection:
                pid = connection.scalar(text("SELECT pg_backend_pid()"))
                seen.append((pid, connection.scalars(select(TABLE.c.id).order_by(TABLE.c.id)).all()))
            with db.engine.connect() as connection:
                assert connection.scalar(text("SELECT pg_backend_pid()")) == pid
                assert connection.scalar(COUNT) == 0
    assert [rows for _, rows in seen] == [[stored.ours], [stored.theirs], [stored.ours, stored.theirs], [stored.ours]]
    assert len({pid for pid, _ in seen}) == 1


def test_nothing_is_set_beyond_the_transaction(app, stored, in_scope):
    """A pooler gives the connection to somebody else after it."""
    with db.engine.connect() as connection:
        role, tenant = connection.execute(ROLE_AND_TENANT).one()
        assert (role[:13], tenant) == ("audiapro_web_", str(current_tenant()))
        connection.commit()
        cursor = connection.connection.cursor()
        cursor.execute("SELECT current_user = session_user, current_setting('app.tenant_id', true)")
        assert cursor.fetchone() == (True, "")
        cursor.connection.rollback()


def test_one_statement_a_transaction_is_all_it_costs(app, stored, in_scope):
    sent = []
    event.listen(db.engine, "after_cursor_execute", lambda *arguments: sent.append(arguments[2].partition(" ")[0]))
    db.session.scalars(select(PhoneSystem)).all()
    db.session.commit()
    sent.clear()
    db.session.scalars(select(PhoneSystem)).all()
    db.session.scalars(select(PhoneSystem)).all()
    db.session.commit()
    assert sent == ["BEGIN;", "SELECT", "SELECT"]


def test_a_connection_with_transactions_of_another_kind_is_refused(app, stored, in_scope):
    for option in ({"isolation_level": "AUTOCOMMIT"}, {"postgresql_readonly": True}):
        engine = db.engine.execution_options(**option)
        with engine.connect() as connection, pytest.raises(ScopeError, match=f"{next(iter(option))} has no effect"):
            connection.scalar(COUNT)
    with db.engine.connect() as connection:
        assert connection.scalar(COUNT) == 1


def test_a_transaction_that_a_statement_has_ended_goes_on_with_nothing(app, stored, in_scope):
    with db.engine.connect() as connection:
        connection.execute(text("COMMIT"))
        with pytest.raises(ScopeError, match="ended by a statement"):
            connection.execute(text("UPDATE phone_systems SET name = 'leaked'"))
    with db.engine.connect() as connection:
        assert connection.scalars(select(TABLE.c.name)).all() == ["PBX"]


ESCAPES = {
    "no policies": "ALTER TABLE phone_systems DISABLE ROW LEVEL SECURITY",
    "another policy": "CREATE POLICY everything ON phone_systems USING (true)",
    "fewer policies": "DROP POLICY own_rows ON phone_systems",
    "more rights": "GRANT ALL ON audit_seals TO CURRENT_USER",
    "more rights for the role": "ALTER ROLE CURRENT_USER BYPASSRLS",
    "rows that are not hidden": "SET LOCAL row_security = off; SELECT count(*) FROM phone_systems",
    "a table of one's own": "CREATE TABLE elsewhere AS SELECT * FROM phone_systems",
    "a rotation that went otherwise": "UPDATE encryption_rotations SET remaining = 0",
    "keys": "DELETE FROM encryption_keys",
    "keys that come back": "DELETE FROM retired_encryption_keys",
    "invitations to more": "UPDATE invitations SET role = 'owner'",
    "users": "DELETE FROM users",
    "tenants": "UPDATE tenants SET subdomain = 'mine'",
    "migrations": "UPDATE alembic_version SET version_num = '0001'",
    "call records that never were": "DELETE FROM calls",
    "passwords of the database": "SELECT rolpassword FROM pg_authid",
}


def test_the_web_role_may_not_do_more_than_a_request_needs(app, stored, in_scope):
    refusals = {}
    for name, escape in ESCAPES.items():
        with db.engine.connect() as connection, pytest.raises(DBAPIError) as refused:
            connection.execute(text(escape))
        refusals[name] = refused.value.orig.sqlstate
    assert refusals == dict.fromkeys(ESCAPES, "42501")


def test_sql_of_ones_own_can_leave_the_role_as_it_is_documented(app, stored, in_scope):
    """That is what this floor does not stop. The next transaction is within it again."""
    with db.engine.connect() as connection:
        connection.execute(text("SELECT set_config('role', 'none', true)"))
        assert connection.scalar(COUNT) == 2
        connection.rollback()
        assert connection.scalar(COUNT) == 1
    documented = " ".join((Path(__file__).parents[2] / "docs/security.md").read_text().split())
    assert "It does not stop SQL injection" in documented


def test_in_the_systems_scope_nothing_is_hidden_without_a_word(app, stored, alice):
    """A login that does not own the tables gets an error instead of what little it may see."""
    with in_database(app), db.engine.begin() as connection:
        role = connection.scalar(text("SELECT 'audiapro_web_' || current_database()"))
        connection.execute(text("SELECT set_config('role', :role, true)"), {"role": role})
        with pytest.raises(DBAPIError, match="row-level security"):
            connection.scalar(select(func.count()).select_from(TABLE))
        connection.rollback()
