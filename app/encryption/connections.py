"""The connections of a rotation: its own, direct ones, and the lock that only one rotation of a database gets."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from app.encryption.batches import Batches
from app.encryption.postgresql import PostgresBatches
from app.encryption.sqlite import SqliteBatches

SQLITE_BUSY_SECONDS: Final = 60
LOCK_ID: Final = 0x726F74617465  # "rotate"


# Advisory locks of the whole cluster are listed, each in two halves.
_IS_HELD: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND classid = :first AND objid = :second"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
).bindparams(first=LOCK_ID >> 32, second=LOCK_ID & 0xFFFFFFFF)


class RotationRefused(Exception):
    """The rotation must not start as things are. The message says what to do. Nothing was written."""


class RotationRunning(Exception):
    """Another rotation of this database is running."""


def direct_engine(url: str) -> Engine:
    """An engine whose connections are neither pooled nor shared with another process, and notice a dead peer."""
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        arguments: dict[str, Any] = {"timeout": SQLITE_BUSY_SECONDS}
    else:
        arguments = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        options["isolation_level"] = "READ COMMITTED"  # whatever the database's default: compare-and-swap looks again
    return create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True, **options)


@contextmanager
def open_batches(url: str, primary_id: str) -> Iterator[Batches]:
    """A connection of one's own for a process that reads and writes batches."""
    with direct_engine(url).connect() as connection:
        if connection.dialect.name == "sqlite":
            yield SqliteBatches(connection, primary_id)
        else:
            yield PostgresBatches(connection, primary_id)


@contextmanager
def exclusive(engine: Engine) -> Iterator[None]:
    """Hold the lock that only one rotation of a database gets. Raises :class:`RotationRunning`.

    A courtesy to the operator: correctness rests on compare-and-swap, however many rotations run.
    """
    if engine.dialect.name == "sqlite":
        path = _lock_file(engine)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RotationRefused(
                f"The lock file {path} cannot be opened ({error.strerror}): remove it, or run this as its owner."
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise RotationRunning from None
        try:
            yield
        finally:
            os.close(file)
        return
    with engine.connect() as connection:
        if not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (LOCK_ID,)).scalar_one():
            raise RotationRunning
        connection.commit()
        try:
            yield
        finally:
            # Said, because the server notices a closed connection a moment later, and a rotation that follows at once
            # would find this one running. A connection that was lost has given up its lock.
            with suppress(DBAPIError):
                connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (LOCK_ID,))


def is_running(connection: Connection) -> bool:
    """Whether a rotation of the database holds the lock. Anybody may ask who may connect.

    On SQLite it is tried for, which takes no time; a rotation that begins in that very moment is told that another one
    is running.
    """
    if connection.dialect.name != "sqlite":
        return bool(connection.execute(_IS_HELD).scalar_one())
    try:
        file = os.open(_lock_file(connection.engine), os.O_RDONLY)
    except OSError:  # there never was one, or it is not for us to see
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _lock_file(engine: Engine) -> str:
    """One, by whatever name the database is reached."""
    return f"{os.path.realpath(engine.url.database or '')}.rotation-lock"
