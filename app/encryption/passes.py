"""What each process of a rotation does: go through its share of the rows, and seal anew or open what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, NullPool, create_engine

from app.encryption import sealed
from app.encryption.batches import (
    Batches,
    Part,
    PostgresBatches,
    Replacement,
    SealedRow,
    SealedTable,
    SqliteBatches,
    Wanted,
)
from app.encryption.keyring import Keyring, MasterKey

SQLITE_BUSY_SECONDS: Final = 60


class Unreadable(NamedTuple):
    """A value that does not open. It was left untouched."""

    table: str
    column: str
    row: str
    key_id: str | None
    reason: str


class Progress(NamedTuple):
    """What one batch came to: values done per column (sealed anew, or opened by the proof), and what did not open."""

    done: Counter[str]
    unreadable: list[Unreadable]


@dataclass(frozen=True, repr=False)
class Share:
    """All that a process needs to do its share. Holds keys, so nothing prints it."""

    url: str
    secrets: tuple[bytes, ...]
    parts: tuple[tuple[SealedTable, Part], ...]
    batch_size: int
    wanted: Wanted
    run_id: int | None = None

    def keyring(self) -> Keyring:
        primary, *fallbacks = (MasterKey(secret) for secret in self.secrets)
        return Keyring(primary, fallbacks)


def re_encrypt_values(share: Share) -> Iterator[Progress]:
    """A process's share of one pass: read a batch, open and seal its values, put them in place, and so on."""
    keyring = share.keyring()
    with open_batches(share.url, keyring.primary.id) as batches:
        for table, part in share.parts:
            for rows in batches.read(table, part, share.wanted, share.batch_size):
                unreadable: list[Unreadable] = []
                replacements = [
                    replacement for row in rows if (replacement := _seal_anew(keyring, table, row, unreadable))
                ]
                written = batches.replace(table, replacements, share.run_id) if replacements else set()
                done: Counter[str] = Counter()
                for replacement in replacements:
                    if replacement.key in written:
                        done.update(
                            column.name for column, new in zip(table.columns, replacement.new, strict=True) if new
                        )
                yield Progress(done, unreadable)


def open_values(share: Share) -> Iterator[Progress]:
    """A process's share of opening values without writing any."""
    keyring = share.keyring()
    with open_batches(share.url, keyring.primary.id) as batches:
        for table, part in share.parts:
            for rows in batches.read(table, part, share.wanted, share.batch_size):
                progress = Progress(Counter(), [])
                for row in rows:
                    for column, context, value in zip(table.columns, row.contexts, row.values, strict=True):
                        if value is None:
                            continue
                        try:
                            sealed.open(keyring, context, value)
                            progress.done[column.name] += 1
                        except sealed.EncryptionError as error:
                            progress.unreadable.append(_unreadable(table, error))
                yield progress


def _seal_anew(
    keyring: Keyring, table: SealedTable, row: SealedRow, unreadable: list[Unreadable]
) -> Replacement | None:
    """The row's values sealed under the primary key; None if there is nothing to write."""
    old: list[str | None] = []
    new: list[str | None] = []
    for context, value in zip(row.contexts, row.values, strict=True):
        fresh = None
        if value is not None:
            try:
                fresh = sealed.seal(keyring.primary, context, sealed.open(keyring, context, value))
            except sealed.EncryptionError as error:
                unreadable.append(_unreadable(table, error))
        old.append(value if fresh else None)
        new.append(fresh)
    return Replacement(row.key, tuple(old), tuple(new)) if any(new) else None


def _unreadable(table: SealedTable, error: sealed.EncryptionError) -> Unreadable:
    return Unreadable(table.name, error.column, error.row, error.key_id, error.reason)


def direct_engine(url: str) -> Engine:
    """An engine whose connections are neither pooled nor shared with another process, and notice a dead peer."""
    if url.startswith("sqlite"):
        arguments: dict[str, Any] = {"timeout": SQLITE_BUSY_SECONDS}
    else:
        arguments = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    return create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)


def _read_text(data: bytes) -> str:
    return data.decode(errors="replace")


@contextmanager
def open_batches(url: str, primary_id: str) -> Iterator[Batches]:
    """A connection of one's own for a process that reads and writes batches."""
    with direct_engine(url).connect() as connection:
        if connection.dialect.name == "sqlite":
            # A damaged byte makes a value that does not open, and must not keep the driver from handing out the rest.
            driver: Any = connection.connection.dbapi_connection
            driver.text_factory = _read_text
            yield SqliteBatches(connection, primary_id)
            return
        # Row-level security must not hide rows: an error is wanted where it would. A commit need not wait for the
        # disk, because a batch that a crash undoes is simply still to do; the run's last commit waits for all.
        for setting in ("row_security = off", "synchronous_commit = off", "lock_timeout = '10s'"):
            connection.exec_driver_sql(f"SET SESSION {setting}")
        connection.commit()
        yield PostgresBatches(connection, primary_id)
