"""The typed base of all models, column types, and how a connection to either database is set up."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat
from flask import has_request_context, request
from sqlalchemy import URL, Engine, MetaData, event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

from app.encryption.storage import UtcTimestamp

__all__ = [
    "Base",
    "ForeignSqlite",
    "Timestamps",
    "UtcTimestamp",
    "Versioned",
    "engine_options",
    "name_of",
    "now",
    "primary_key",
    "reason",
    "uuid7",
]

SQLITE_BUSY_SECONDS: Final = 15
LONGEST_WAIT_SECONDS: Final = 3  # for a connection: whoever asks is to be told within 5 seconds that there is none
POOL_SIZE: Final = 8  # connections of a process, at most: one for each of its 4 threads, and of the 4 that send mail
PAUSE_SECONDS: Final = 1.0  # after which a connection is asked whether it still works
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_RETURNED_AT: Final = "returned at"  # in ConnectionPoolEntry.info


class ForeignSqlite(sqlite3.Connection):
    """A connection to another application's SQLite database, whose settings are none of our business."""


class Base(DeclarativeBase):
    """What every model derives from. Constraints get names, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


def uuid7() -> UUID:
    """A new UUIDv7 (RFC 9562, section 5.7): random, and ordered by the time it was made, so that new rows are
    neighbours in the index."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    """This moment, aware and in UTC."""
    return datetime.now(UTC)


def primary_key() -> Mapped[UUID]:
    return mapped_column(primary_key=True, default=uuid7)


class Timestamps:
    """When a row was made and last changed. Rotating the encryption key changes neither."""

    created_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now, onupdate=now)


class Versioned:
    """A row that people change. ``version`` is 1 when it is made and one more with each change; rotating the encryption
    key is none. The database itself refuses to write over a version that is not the one that was read: StaleDataError.
    """

    # The default is for processes of the release before, which know nothing of versions and still insert rows.
    version: Mapped[int] = mapped_column(server_default="1")

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}


def engine_options(url: str, *, pooled: bool = False) -> dict[str, Any]:
    """Options for ``create_engine``. Parameters stay out of every log and error: they are tenants' data.

    pooled: whether the URL leads through a transaction pooler, which hands statements to connections that may not have
    prepared them.
    """
    options: dict[str, Any] = {"hide_parameters": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": SQLITE_BUSY_SECONDS}
    else:
        options |= {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": LONGEST_WAIT_SECONDS}
        options["connect_args"] = {
            "connect_timeout": LONGEST_WAIT_SECONDS,
            "tcp_user_timeout": LONGEST_WAIT_SECONDS * 1000,  # milliseconds without a sign of life of the other side
        }
        if pooled:
            options["connect_args"]["prepare_threshold"] = None
    return options


def name_of(url: URL) -> str:
    """Kind, host and name of the database: nothing that gives access."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite, {url.database or 'in memory'}"
    host = url.host or url.query.get("host") or "local socket"
    return f"PostgreSQL on {host}{f':{url.port}' if url.port else ''}, {url.database}"


def reason(error: DBAPIError, url: URL) -> str:
    """What the driver says, on one line, without the password."""
    text = " ".join(str(error.orig).split())
    return text.replace(url.password, "***") if url.password else text


@event.listens_for(Engine, "do_connect")
def _create_private_file(
    dialect: Dialect, record: ConnectionPoolEntry, args: list[Any], options: dict[str, Any]
) -> None:
    """A new SQLite database is its owner's alone, whatever the umask; SQLite gives its journals the same mode."""
    if dialect.name != "sqlite" or options.get("uri") or args[0] in ("", ":memory:"):
        return
    path = Path(args[0])
    with suppress(OSError):  # what is wrong, SQLite finds too, and reports as an error of the database
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never opened where it exists: to close it would drop all locks that this process holds on the database.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


@event.listens_for(Engine, "connect")
def _set_up_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Foreign keys are off by default; and the driver's own handling of transactions must not interfere with ours."""
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
        if not issubclass(type(connection), ForeignSqlite):
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


@event.listens_for(Pool, "checkin")
def _note_when_returned(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_RETURNED_AT] = time.monotonic()


@event.listens_for(Pool, "checkout")
def _ping_after_a_pause(connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Find out whether a connection has died while nobody used it; the pool then makes new ones. To ask each time, as
    `pool_pre_ping` does, would cost every request as much as a statement."""
    returned_at = record.info.get(_RETURNED_AT)
    is_asked = returned_at is not None and time.monotonic() - returned_at > PAUSE_SECONDS
    if not is_asked or isinstance(connection, sqlite3.Connection):
        return
    try:
        connection.cursor().execute("SELECT 1")
        connection.commit()  # after a ROLLBACK the driver forgets what it has prepared
    except Exception:  # whatever the driver calls it
        raise InvalidatePoolError from None


@event.listens_for(Engine, "begin")
def _begin_sqlite(connection: Any) -> None:
    """Take SQLite's write lock at the start of whatever may write: a transaction that wants it later, after somebody
    else wrote, is refused at once instead of waiting."""
    if connection.dialect.name != "sqlite":
        return
    only_reads = has_request_context() and request.method in SAFE_METHODS
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED" if only_reads else "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")
