"""What the rows of a backup come to: which keys they need, whether every value opens, and whether anything is missing.

Rows are looked at one by one and forgotten, so that memory is the same for any size. What is kept of them are counts,
ids, and a bounded list of values that do not open.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Column, MetaData, Uuid

from app.backups.reading import Take
from app.encryption import sealed
from app.encryption.keyring import PLATFORM, Context, Keyring, is_key_id
from app.encryption.passes import Unreadable
from app.encryption.registry import NO_KEY_ID, opens_canary
from app.encryption.storage import EncryptedColumn, inventory

LISTED_OF_A_KIND: Final = 20  # values that do not open for the same reason, under the same key
DIFFERENT_KEY_IDS: Final = 100
OTHER: Final = "other"  # the key ids that are one too many, which nobody has so many of: the backup was tampered with

# What else is looked at, beside tables with encrypted columns: their columns that it takes.
_NEEDED: Final = {
    "encryption_keys": ("id", "canary"),
    "retired_encryption_keys": ("id",),
    "alembic_version": ("version_num",),
    "audit_events": ("id",),
    "tenants": (),
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REVISION: Final = re.compile(r"[0-9A-Za-z_]{1,32}")


@dataclass
class Rows:
    """What was found in the rows of a backup.

    values: how many there are by column and key id; None counts the empty ones.
    registered: whether each registered key is configured and opens its canary; None if it is not configured.
    newest_event: id of the newest event of the audit trail.
    """

    values: dict[str, Counter[str | None]]
    opened: int = 0
    unreadable: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    listed: list[Unreadable] = field(default_factory=list)
    registered: dict[str, bool | None] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    revisions: set[str] = field(default_factory=set)
    tenants: int = 0
    users: int = 0
    newest_event: str = ""
    missing_columns: set[str] = field(default_factory=set)
    ambiguous: set[str] = field(default_factory=set)

    def key_ids(self) -> list[str]:
        """Of the keys that values are sealed under."""
        found = {key_id for counts in self.values.values() for key_id in counts}
        return sorted(key_id for key_id in found if key_id is not None and key_id != NO_KEY_ID)

    def newest_event_at(self) -> datetime | None:
        """When the newest event took place, by its UUIDv7; None if that is none, or of a time that cannot be."""
        digits = self.newest_event.replace("-", "")
        if re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{19}", digits) is None:
            return None
        with suppress(ValueError, OverflowError):
            return datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)
        return None


class RowChecker:
    """Looks at the rows of a backup with the keys at hand; it is what readers call as their ``begin``."""

    def __init__(self, metadata: MetaData, keyring: Keyring) -> None:
        self.rows = Rows({column.name: Counter() for column in inventory(metadata)})
        self._keyring = keyring
        self._columns = {
            table: list(columns) for table, columns in groupby(inventory(metadata), key=lambda found: found.table.name)
        }
        self._schemas: dict[str, str] = {}

    def __call__(self, schema: str, table: str, columns: Sequence[str]) -> Take | None:
        if table not in self._columns and table not in _NEEDED:
            return None
        if self._schemas.setdefault(table, schema) != schema:
            self.rows.ambiguous.add(table)
        position = {name: number for number, name in enumerate(columns)}
        if table in self._columns:
            return self._open_values(self._columns[table], position, counts_users=table == "users")
        if lacking := [name for name in _NEEDED.get(table, ()) if name not in position]:
            self.rows.missing_columns |= {f"{table}.{name}" for name in lacking}
            return None
        at = [position[name] for name in _NEEDED.get(table, ())]
        match table:
            case "encryption_keys":
                return lambda row: self._look_at_key(*(row[place] or "" for place in at))
            case "retired_encryption_keys":
                return lambda row: _note(self.rows.retired, row[at[0]], is_key_id)
            case "alembic_version":
                return lambda row: _note(self.rows.revisions, row[at[0]], _is_revision)
            case "audit_events":
                return lambda row: self._look_at_event(row[at[0]] or "")
            case "tenants":
                return lambda row: self._count_tenant()
        return None

    def _open_values(self, entries: list[EncryptedColumn], position: dict[str, int], *, counts_users: bool) -> Take:
        places = []
        for entry in entries:
            ids = [column for column in (entry.owner, entry.row) if column is not None]
            if lacking := {column.name for column in (entry.storage, *ids)} - position.keys():
                self.rows.missing_columns |= {f"{entry.table.name}.{name}" for name in lacking}
                continue
            owner, row_id = _id_of(entry.owner, position), _id_of(entry.row, position)
            places.append((entry, position[entry.storage.name], owner, row_id, self.rows.values[entry.name]))

        def take(row: Sequence[str | None]) -> None:
            self.rows.users += counts_users
            for entry, at, owner, row_id, counts in places:
                value = row[at]
                if value is None:
                    counts[None] += 1
                    continue
                try:
                    sealed.open(self._keyring, Context(entry.name, owner(row), row_id(row)), value)
                except sealed.EncryptionError as error:
                    self._list(entry, error, counts)
                else:
                    self.rows.opened += 1
                    counts[value[3:11]] += 1

        return take

    def _list(self, entry: EncryptedColumn, error: sealed.EncryptionError, counts: Counter[str | None]) -> None:
        key_id = error.key_id
        if key_id not in counts and len(counts) >= DIFFERENT_KEY_IDS:
            key_id = OTHER
        counts[key_id or NO_KEY_ID] += 1
        kind = error.reason, key_id
        self.rows.unreadable[kind] += 1
        if self.rows.unreadable[kind] <= LISTED_OF_A_KIND:
            # What stands where an id should, may be anything.
            row = error.row if _UUID.fullmatch(error.row) else "without an id"
            self.rows.listed.append(Unreadable(entry.table.name, entry.name, row, error.key_id, error.reason))

    def _look_at_key(self, key_id: str, canary: str) -> None:
        if is_key_id(key_id) and len(self.rows.registered) < DIFFERENT_KEY_IDS:
            is_configured = self._keyring.get(key_id) is not None
            self.rows.registered[key_id] = opens_canary(self._keyring, key_id, canary) if is_configured else None

    def _look_at_event(self, event_id: str) -> None:
        self.rows.newest_event = max(self.rows.newest_event, event_id)

    def _count_tenant(self) -> None:
        self.rows.tenants += 1


def _note(found: set[str], value: str | None, is_one: Callable[[str], bool]) -> None:
    if value is not None and is_one(value) and len(found) < DIFFERENT_KEY_IDS:
        found.add(value)


def _is_revision(text: str) -> bool:
    return _REVISION.fullmatch(text) is not None


def _id_of(column: Column[Any] | None, position: dict[str, int]) -> Callable[[Sequence[str | None]], str]:
    """What gives the id of a row as values are bound to it: that of the platform where there is no column for it."""
    if column is None:
        return lambda row: PLATFORM
    at = position[column.name]
    if isinstance(column.type, Uuid):
        return lambda row: _canonical(row[at] or "")
    return lambda row: row[at] or ""


def _canonical(uuid: str) -> str:
    """With dashes. SQLite keeps 32 hex digits."""
    return f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}" if len(uuid) == 32 else uuid
