"""Who we are to the database, and what it enforces."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine, literal, select, text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.connections import check_connections
from app.database import engine_options, now, reason
from app.doctor.findings import Finding, failure, ok, warning
from app.extensions import db
from app.status.service import is_migrated
from app.tenancy import FLOOR_MISSING, keeps_tenants_apart, tenant_scope

FARTHEST_CLOCK: Final = timedelta(seconds=5)  # from the database's
_IDENTITY: Final = text(
    "SELECT datname, oid, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()"
)
NOBODY: Final = UUID(int=0)
FLOOR_BROKEN: Final = (
    "Row-level security was switched off for a table: ALTER TABLE … ENABLE ROW LEVEL SECURITY on each that \\d in psql "
    "shows without."
)


def check_server(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """The server, and how we are connected to it. In the system's scope."""
    if is_migrated(connection):
        yield ok("migrations", "all that this version knows are made")
    else:
        yield failure("migrations", "The database is behind this version: run `flask db upgrade`.")
    if connection.dialect.name == "sqlite":
        yield from _file(Path(connection.engine.url.database or ""))
    else:
        yield _encrypted(connection)
        yield _login(connection)
        yield _room(settings, connection)
        yield from check_rotation(settings, connection)
        yield _clock(connection)


def check_rotation(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Whether ROTATION_DATABASE_URL, where there is one, leads to the same database, past the pooler."""
    subject = "database, direct"
    if settings.rotation_database_url is None:
        return
    engine = create_engine(settings.rotation_database_url, **engine_options(settings.rotation_database_url))
    try:
        with engine.connect() as direct:
            is_same = direct.execute(_IDENTITY).one() == connection.execute(_IDENTITY).one()
    except DBAPIError as error:
        text_of_it = f"ROTATION_DATABASE_URL does not work, and nothing can be rotated: {reason(error, engine.url)}"
        yield failure(subject, text_of_it)
    else:
        if is_same:
            yield ok(subject, "ROTATION_DATABASE_URL leads to the same database")
        else:
            yield failure(subject, "ROTATION_DATABASE_URL leads to another database than DATABASE_URL.")
    finally:
        engine.dispose()


def check_floor(engine: Engine) -> Finding:
    """Row-level security, from where requests see it: in a scope that is nobody's, no row of any tenant."""
    subject = "tenants"
    tables = [table for table in db.metadata.tables.values() if "tenant_id" in table.c]
    with tenant_scope(NOBODY), engine.connect() as connection:
        if not keeps_tenants_apart(connection, tables):
            has_role = connection.execute(text("SELECT current_user <> session_user")).scalar_one()
            return failure(subject, FLOOR_BROKEN) if has_role else warning(subject, FLOOR_MISSING)
        any_row = {table.name: select(literal(1)).select_from(table).limit(1) for table in tables}
        seen = [name for name, query in any_row.items() if connection.execute(query).first() is not None]
    if seen:
        return failure(subject, f"Anybody's requests see rows of {', '.join(seen)}: the policies there were changed.")
    return ok(subject, f"the database itself keeps them apart, in {len(tables)} tables")


def _file(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield failure("database", f"{path} has mode {mode:04o}, open to other users. Close it: chmod 600 {path}")
    yield warning(
        "database",
        "SQLite is for one machine, and does not keep tenants apart by itself. Where people depend on it, set "
        "DATABASE_URL to a PostgreSQL database.",
    )


def _encrypted(connection: Connection) -> Finding:
    """Whether others on the way can read what is said: on this machine there are none, and a private network is what
    its owner takes it for."""
    subject = "database, TLS"
    if connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar():
        return ok(subject, "the connection is encrypted")
    address = connection.execute(text("SELECT host(inet_server_addr())")).scalar()
    if address is None or ipaddress.ip_address(address).is_loopback:
        return ok(subject, "not needed, the database is on this machine")
    if ipaddress.ip_address(address).is_private:
        return ok(subject, f"none to {address}, in a private network: DATABASE_URL wants none")
    return failure(subject, "The connection is not encrypted: put sslmode=require into DATABASE_URL.")


def _login(connection: Connection) -> Finding:
    """It has to own the tables, as migrations and rotations do; more than that it need not be."""
    subject = "database, login"
    query = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = session_user"
    powers = connection.execute(text(query)).one()
    if powers.rolsuper:
        return warning(subject, "We sign in as a superuser: make a role that owns this database and nothing else.")
    if powers.rolbypassrls:
        return warning(subject, "Our login may go past row-level security: take BYPASSRLS from it.")
    return ok(subject, "no superuser")


def _room(settings: Settings, connection: Connection) -> Finding:
    subject = "database, room"
    if settings.rotation_database_url is not None:
        return ok(subject, "a pooler shares it out: see how many connections that one may open")
    for text_of_it in check_connections(connection, settings):
        return warning(subject, f"{text_of_it[0].upper()}{text_of_it[1:]}.")
    return ok(subject, "for all connections of this machine's processes, and a command beside them")


def _clock(connection: Connection) -> Finding:
    subject = "clock"
    apart = abs(connection.execute(text("SELECT clock_timestamp()")).scalar_one() - now())
    if apart > FARTHEST_CLOCK:
        seconds = round(apart.total_seconds())
        return warning(subject, f"This machine's clock and the database's are {seconds} s apart: set them by NTP.")
    return ok(subject, "agrees with the database's")
