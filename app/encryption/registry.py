"""Which master keys the database knows: registering, the check at start, retiring, forgetting and reinstating.

``encryption_keys`` holds the keys in use. Every sealed value points to its key's row with a foreign key, so the
database refuses values under any other key, and a key cannot go while one value needs it. ``retired_encryption_keys``
remembers those that went, so that none comes back by accident.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.encryption import sealed
from app.encryption.keyring import PLATFORM, Context, Keyring, is_key_id
from app.encryption.storage import EncryptedColumn, SealedText, UtcTimestamp, inventory, sealed_check

CANARY_TEXT: Final = b"audiapro"
NO_KEY_ID: Final = "none"


class KeyRefused(Exception):
    """The keys that are configured and those that the database needs do not fit together.

    problems: one sentence or more each, saying what to do; key ids only, never a key.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class KeyNotChanged(Exception):
    """A key could not be retired, forgotten or reinstated. The message says why and what to do."""


@dataclass(frozen=True)
class SealedRow:
    """Where one sealed value is: attribute, primary key, and its owner's id (a tenant, a user, or the platform)."""

    column: str
    row: str
    owner: str


class KeyRegistry:
    """The tables of the registry in ``metadata``, and what is done with them. Takes connections, keeps none."""

    def __init__(self, metadata: MetaData) -> None:
        self.metadata = metadata
        self.keys = Table(
            "encryption_keys",
            metadata,
            Column("id", String(8), primary_key=True),
            Column("generation", Integer, nullable=False, unique=True),  # order of registration, whatever clocks say
            Column("created_at", UtcTimestamp(), nullable=False),
            Column("canary", SealedText(), nullable=False),
            sealed_check("canary", "canary_sealed"),
        )
        self.retired = Table(
            "retired_encryption_keys",
            metadata,
            Column("id", String(8), primary_key=True),
            Column("retired_at", UtcTimestamp(), nullable=False),
        )
        self.rotations = Table(
            "encryption_rotations",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("from_key_ids", Text, nullable=False),  # comma-separated
            Column("to_key_id", String(8), nullable=False),
            Column("started_at", UtcTimestamp(), nullable=False),
            Column("finished_at", UtcTimestamp()),
            Column("planned", Integer, nullable=False),
            Column("rotated", Integer, nullable=False),
            Column("unreadable", Integer, nullable=False),
            Column("proved", Integer),
            Column("remaining", Integer),
        )

    def is_migrated(self, connection: Connection) -> bool:
        """Whether the database has the registry's tables at all; an empty one does not."""
        return inspect(connection).has_table(self.keys.name)

    def check(self, connection: Connection, keyring: Keyring) -> None:
        """Raise :class:`KeyRefused` unless ``keyring`` holds every registered key, each the real one, and its primary
        is not retired. Changes nothing; an unmigrated database passes."""
        if not self.is_migrated(connection):
            return
        problems = [problem for row in connection.execute(select(self.keys)) if (problem := _problem(row, keyring))]
        retired = connection.execute(select(self.retired.c.retired_at).where(self.retired.c.id == keyring.primary.id))
        if (retired_at := retired.scalar()) is not None:
            problems.append(
                f"ENCRYPTION_KEY {keyring.primary.id} was retired on {retired_at:%Y-%m-%d}: values must not be sealed "
                "under it again. Configure the current key as ENCRYPTION_KEY; only after restoring an old backup, run "
                f"`flask encryption reinstate {keyring.primary.id}`."
            )
        if problems:
            raise KeyRefused(problems)

    def check_and_register(self, engine: Engine, keyring: Keyring) -> bool:
        """The check at start: :meth:`check`, then register the primary key if it is new. Fallbacks never are.

        Returns False for an unmigrated database, where nothing can be registered yet.
        """
        with engine.connect() as connection:
            self.check(connection, keyring)
            if not self.is_migrated(connection):
                return False
            if keyring.primary.id in self.registered(connection):
                return True
        with self._change(engine) as connection:
            self.check(connection, keyring)
            if keyring.primary.id not in self.registered(connection):
                newest = connection.execute(select(func.coalesce(func.max(self.keys.c.generation), 0))).scalar_one()
                connection.execute(
                    insert(self.keys).values(
                        id=keyring.primary.id,
                        generation=newest + 1,
                        created_at=datetime.now(UTC),
                        canary=sealed.seal(keyring.primary, _canary_context(keyring.primary.id), CANARY_TEXT),
                    )
                )
        return True

    def registered(self, connection: Connection) -> list[str]:
        """The ids of the registered keys, oldest first."""
        return list(connection.execute(select(self.keys.c.id).order_by(self.keys.c.generation)).scalars())

    def last_rotation(self, connection: Connection) -> RowMapping | None:
        """The record of the newest rotation, whether it is over or not; None if there was none."""
        newest_first = select(self.rotations).order_by(self.rotations.c.id.desc()).limit(1)
        return connection.execute(newest_first).mappings().first()

    def last_proved_at(self, connection: Connection) -> datetime | None:
        """When a rotation last ended with every value opened by the primary key alone; None if none ever did."""
        finished = self.rotations.c.finished_at
        proved = select(func.max(finished)).where(self.rotations.c.remaining == 0, self.rotations.c.unreadable == 0)
        return connection.execute(proved).scalar()

    def count_values(self, connection: Connection, column: EncryptedColumn) -> dict[str | None, int]:
        """How many values of ``column`` are sealed under each key id, of all owners; None counts the empty ones.

        What is not a sealed value counts as :data:`NO_KEY_ID`: where its key id would be, may be part of a secret.
        """
        _require_every_row(connection)
        counts: Counter[str | None] = Counter()
        version = func.substr(column.storage, 1, len(sealed.VERSION) + 1)
        found = select(column.key_id, version, func.count()).group_by(column.key_id, version)
        for key_id, prefix, count in connection.execute(found):
            is_sealed = prefix == f"{sealed.VERSION}:" and is_key_id(key_id)
            counts[key_id if key_id is None or is_sealed else NO_KEY_ID] += count
        return dict(counts)

    def retire(self, engine: Engine, keyring: Keyring, key_id: str) -> None:
        """Remove a key that no value needs any more, for good. Raises :class:`KeyNotChanged`."""
        if key_id == keyring.primary.id:
            raise KeyNotChanged(f"{key_id} is the primary key: new values are sealed under it")
        with self._change(engine) as connection:
            self._require_registered(connection, key_id)
            needed = {
                column.name: count
                for column in inventory(self.metadata)
                if (count := self.count_values(connection, column).get(key_id, 0))
            }
            if needed:
                listed = ", ".join(f"{count} of {name}" for name, count in needed.items())
                raise KeyNotChanged(
                    f"{key_id} is still needed by values: {listed}. Run `flask rotate-encryption-key` first"
                )
            self._retire(connection, key_id)

    def count_lost(self, connection: Connection, keyring: Keyring, key_id: str) -> int:
        """How many values :meth:`forget` would give up. Raises :class:`KeyNotChanged` as it does."""
        if keyring.get(key_id) is not None:
            raise KeyNotChanged(f"{key_id} is configured, so it is not lost: rotate and retire it instead")
        self._require_registered(connection, key_id)
        return sum(self.count_values(connection, column).get(key_id, 0) for column in inventory(self.metadata))

    def forget(self, engine: Engine, keyring: Keyring, key_id: str, tell: Callable[[list[SealedRow]], None]) -> None:
        """Give up a lost key: set the values sealed under it to NULL and retire it. Raises :class:`KeyNotChanged`.

        tell: called with the rows whose secret must be entered anew, before they are given up for good: when it fails,
        nothing is changed.
        """
        with self._change(engine) as connection:
            _require_every_row(connection)
            self.count_lost(connection, keyring, key_id)
            lost = [row for column in inventory(self.metadata) for row in _remove(connection, column, key_id)]
            self._retire(connection, key_id)
            tell(lost)

    def reinstate(self, engine: Engine, key_id: str) -> None:
        """Let a retired key be registered again: the way back after restoring a backup. Raises KeyNotChanged."""
        with self._change(engine) as connection:
            if not connection.execute(delete(self.retired).where(self.retired.c.id == key_id)).rowcount:
                raise KeyNotChanged(f"{key_id} is not a retired key")

    def _require_registered(self, connection: Connection, key_id: str) -> None:
        if key_id not in self.registered(connection):
            raise KeyNotChanged(f"{key_id} is not a registered key: see `flask encryption status`")

    def _retire(self, connection: Connection, key_id: str) -> None:
        try:
            connection.execute(delete(self.keys).where(self.keys.c.id == key_id))
        except IntegrityError:  # a value arrived under it since it was counted: the foreign key has the last word
            raise KeyNotChanged(f"{key_id} is being written by a running process: restart it first") from None
        connection.execute(insert(self.retired).values(id=key_id, retired_at=datetime.now(UTC)))

    @contextmanager
    def _change(self, engine: Engine) -> Iterator[Connection]:
        """A transaction that changes the registry, one at a time; reading and sealing go on beside it.

        Without the lock, a process starting with a key that is being retired could register it again.
        """
        with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = '10s'"))
                connection.execute(text(f"LOCK TABLE {self.keys.name} IN SHARE ROW EXCLUSIVE MODE"))
            yield connection


def _require_every_row(connection: Connection) -> None:
    """Where row-level security would hide rows, make that an error for the rest of the transaction: a value that is
    not counted would be lost with its key."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL row_security = off"))


def _remove(connection: Connection, column: EncryptedColumn, key_id: str) -> list[SealedRow]:
    """Set what is sealed under a key to NULL, and tell what that was: exactly that, whatever others write meanwhile."""
    owner = literal(PLATFORM) if column.owner is None else column.owner
    values: dict[Any, Any] = {column.storage: None, column.changed_at: datetime.now(UTC)}
    if column.changed_by is not None:  # nobody whom the tenant knows
        values[column.changed_by] = None
    if column.used_at is not None:
        values[column.used_at] = None
    removed = update(column.table).where(column.key_id == key_id).values(values).returning(column.key, owner)
    return [SealedRow(column.name, str(row), str(owner_id)) for row, owner_id in connection.execute(removed)]


def opens_canary(keyring: Keyring, key_id: str, canary: str) -> bool:
    """Whether the keyring's key of that id is the one that was registered under it with this canary."""
    try:
        return sealed.open(keyring, _canary_context(key_id), canary) == CANARY_TEXT
    except sealed.EncryptionError:
        return False


def _canary_context(key_id: str) -> Context:
    return Context("encryption_keys.canary", PLATFORM, key_id)


def _problem(row: Any, keyring: Keyring) -> str | None:
    """What is wrong with one registered key from the keyring's point of view."""
    if keyring.get(row.id) is None:
        return (
            f"The database has values or a registration under key {row.id}, which is not configured. Add that key to "
            f"ENCRYPTION_KEY_FALLBACKS; or, if no value needs it, run `flask encryption retire {row.id}`; or, if it is "
            f"lost, run `flask encryption forget {row.id}`, which gives up the values sealed under it."
        )
    if not opens_canary(keyring, row.id, row.canary):
        return (
            f"The configured key {row.id} is not the one that the database knows by this id: its canary is not opened."
        )
    return None
