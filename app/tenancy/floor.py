"""PostgreSQL's part: a role that does not own the tables, and row-level security that shows it one tenant's rows.

Role and tenant are set in each transaction, and only for its length, so that it works behind a pooler that hands a
connection from one client to another between transactions. Whoever can run SQL of their own can set them back: this
stops a filter that was forgotten, not an SQL injection.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, CursorResult, Engine, Table, event, text
from sqlalchemy.exc import DBAPIError

from app.tenancy.scope import Scope, ScopeError, System, current_scope, leave_at_end_of_request

log = logging.getLogger(__name__)

FLOOR_MISSING: Final = (
    "Works, but the database does not keep tenants apart by itself: see `Tenants are kept apart` in docs/security.md."
)

# Roles are the cluster's, so each database needs its own; a name has at most 63 bytes.
WEB_ROLE: Final = (
    "'audiapro_web_' || CASE WHEN octet_length(current_database()) <= 50"
    " THEN current_database() ELSE md5(current_database()) END"
)
# Whether the login may go into that role; PostgreSQL tells membership from it since version 16.
MAY_BE_WEB_ROLE: Final = (
    f"coalesce(pg_has_role(session_user, to_regrole(quote_ident({WEB_ROLE})),"
    " CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END), false)"
)

_SET: Final = "scope"  # the scope that is in force in the transaction
_TENANT: Final = "tenant"  # the one tenant that the transaction is or was about
_ROLE: Final = "web role"  # its name as a literal of SQL, once it is known that the connection may go into it
_BEING_SET: Final = "being set"  # in place of the scope, while that is sent

# What SQLAlchemy and the driver would write into a BEGIN of their own.
_IGNORED: Final = frozenset({"isolation_level", "postgresql_readonly", "postgresql_deferrable"})


def init_app(app: Flask, db: SQLAlchemy) -> None:
    """Let the application's own engine follow the scope."""
    with app.app_context():
        follow_scope(db.engine)
    leave_at_end_of_request(app)


def follow_scope(engine: Engine) -> None:
    """Make each transaction of the engine's connections begin in the current scope, and change with it."""

    def set_scope(connection: Connection) -> None:
        scope, info = current_scope(), connection.info
        if isinstance(scope, UUID) and info.get(_TENANT, scope) != scope:
            raise ScopeError("the tenant was changed inside an open transaction: commit or roll back before")
        if connection.dialect.name == "postgresql":
            if ignored := sorted(_IGNORED & connection.get_execution_options().keys()):
                raise ScopeError(
                    f"transactions begin with the scope, and all alike: {', '.join(ignored)} has no effect"
                )
            info[_SET] = _BEING_SET
            try:
                _send_scope(connection, scope)
            except BaseException:
                info.pop(_SET, None)
                raise
        info[_SET] = scope
        if isinstance(scope, UUID):
            info[_TENANT] = scope

    def set_scope_again(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        info = connection.info
        if statement[:11].upper() == "ROLLBACK TO":  # it takes back what was set after the savepoint
            info.pop(_SET, None)
        elif _SET not in info:
            set_scope(connection)
        elif info[_SET] is not _BEING_SET:
            if _has_ended(connection):
                raise ScopeError("the transaction was ended by a statement: end it by commit() or rollback()")
            if info[_SET] is not current_scope():
                set_scope(connection)

    def forget(connection: Connection) -> None:
        if not connection.closed and not connection.invalidated:  # then its info is gone as well
            connection.info.pop(_SET, None)
            connection.info.pop(_TENANT, None)

    event.listen(engine, "begin", set_scope)
    event.listen(engine, "before_cursor_execute", set_scope_again)
    event.listen(engine, "commit", forget)
    event.listen(engine, "rollback", forget)


def _has_ended(connection: Connection) -> bool:
    """Whether the database is in no transaction, though SQLAlchemy takes it to be in one."""
    driver: Any = connection.connection.driver_connection
    return connection.dialect.name == "postgresql" and _is_idle(driver)


def _is_idle(driver: Any) -> bool:
    return bool(driver.info.transaction_status == TransactionStatus.IDLE)


def _send_scope(connection: Connection, scope: Scope) -> None:
    """Set role and tenant, in one message with BEGIN where the transaction has not begun: every request waits for it.
    So the driver, which would send BEGIN by itself, leaves that to us: to it, the connection is in autocommit mode for
    good.

    In the system's scope whoever does not see all rows gets an error instead of fewer rows.
    """
    driver: Any = connection.connection.driver_connection
    begins = _is_idle(driver)
    if begins and not driver.autocommit:
        driver.autocommit = True
    is_system = scope is System.ALL_TENANTS
    role = "'none'" if is_system else connection.info.get(_ROLE) or _find_web_role(connection)
    tenant = scope if isinstance(scope, UUID) else ""
    statements = (
        *(["BEGIN"] if begins else []),
        f"SELECT set_config('app.tenant_id', '{tenant}', true)",
        f"SELECT set_config('row_security', '{'off' if is_system else 'on'}', true)",
        f"SELECT set_config('role', {role}, true)",
    )
    try:
        _execute_as_it_is(connection, "; ".join(statements))
    except DBAPIError:
        if connection.info.pop(_ROLE, None):  # it may have been taken away
            log.error("the role of the web processes could not be entered, and is asked for again")
        raise


def _find_web_role(connection: Connection) -> str:
    """The web role's name as a literal of SQL. Where there is none, the login's own role stays, and the next
    transaction asks again: see docs/security.md."""
    found = _execute_as_it_is(connection, f"SELECT quote_literal({WEB_ROLE}) WHERE {MAY_BE_WEB_ROLE}").scalar()
    if found is None:
        return "'none'"
    connection.info[_ROLE] = found
    return str(found)


def _execute_as_it_is(connection: Connection, statements: str) -> CursorResult[Any]:
    """Without parameters, which only a statement by itself can have."""
    return connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


def open_to_web_role(connection: Connection, table: str, privileges: str, owned_by: str | None = None) -> None:
    """For migrations: grant what a web process does with a new table, to the role if there is one.

    owned_by: the column with the id of the tenant whose row it is; others then see nothing of it.
    """
    if connection.dialect.name != "postgresql":
        return
    if owned_by is not None:
        own = f"{owned_by} = NULLIF(current_setting('app.tenant_id', true), '')::uuid"
        connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
        connection.execute(text(f"CREATE POLICY own_rows ON {table} USING ({own}) WITH CHECK ({own})"))
    if (role := _quoted_web_role(connection)) is not None:
        connection.execute(text(f"GRANT {privileges} ON {table} TO {role}"))


def close_to_web_role(connection: Connection, table: str, privileges: str) -> None:
    """For migrations down: take back what was granted on a table that stays."""
    if connection.dialect.name == "postgresql" and (role := _quoted_web_role(connection)) is not None:
        connection.execute(text(f"REVOKE {privileges} ON {table} FROM {role}"))


def _quoted_web_role(connection: Connection) -> str | None:
    named = f"SELECT quote_ident(rolname) FROM pg_roles WHERE rolname = {WEB_ROLE}"
    return connection.execute(text(named)).scalar()


def keeps_tenants_apart(connection: Connection, tables: Sequence[Table]) -> bool:
    """Whether the database hides rows of these tables from whom the transaction works as."""
    if connection.dialect.name != "postgresql":
        return False
    hidden = (
        "SELECT count(*) FROM unnest(CAST(:tables AS text[])) AS name"
        " WHERE row_security_active(to_regclass(quote_ident(name))::oid)"
    )
    return bool(
        connection.execute(text(hidden), {"tables": [table.name for table in tables]}).scalar_one() == len(tables)
    )
