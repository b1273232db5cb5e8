"""Re-encrypting every stored value under the primary key, beside live traffic, and proving that it is done.

A rotation can be killed at any moment and started again: each batch is one transaction, a value is replaced only where
it still is what was read, and what is under the primary key already is left alone. It ends with the proof: every value
of every encrypted column is opened with the primary key alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from sqlalchemy import insert, update

from app.encryption.batches import ColumnCount, Wanted, sealed_tables
from app.encryption.connections import RotationRefused, direct_engine, exclusive, open_batches
from app.encryption.keyring import Keyring
from app.encryption.passes import Progress, Share, Unreadable, open_values, re_encrypt_values
from app.encryption.registry import NO_KEY_ID, KeyRegistry
from app.encryption.storage import inventory
from app.encryption.workers import share_out

DEFAULT_BATCH_SIZE: Final = 1000
PASSES_WITHOUT_PROGRESS: Final = 5


@dataclass
class ColumnResult:
    """Counts of one column. ``total`` counts rows; the others add up to it when nobody writes meanwhile."""

    column: str
    total: int = 0
    null: int = 0
    rotated: int = 0
    already: int = 0
    unreadable: int = 0


@dataclass
class Result:
    """What a rotation came to.

    proved: values opened with the primary key alone, rotated now or before. remaining: values under other keys.
    seconds: the whole work, proof included. still_written: the keys of values that pass after pass could not get hold
    of, or found anew.
    """

    primary: str
    columns: list[ColumnResult]
    rotated: int = 0
    unreadable: int = 0
    proved: int = 0
    remaining: int = 0
    seconds: float = 0.0
    still_written: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every value is under the primary key and was opened with it."""
        return not self.unreadable and not self.remaining


class Rotation:
    """One rotation of one database.

    url: SQLAlchemy URL of a direct connection: a transaction pooler would hand one rotation's lock to another.
    workers: processes. batch_size: rows a transaction.
    on_progress: called with the number of values that a batch sealed anew or, in the proof, opened.
    on_unreadable: called once for every value that does not open.
    """

    def __init__(
        self,
        url: str,
        registry: KeyRegistry,
        keyring: Keyring,
        *,
        workers: int = 1,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_progress: Callable[[int], None] = lambda values: None,
        on_unreadable: Callable[[Unreadable], None] = lambda value: None,
    ) -> None:
        self.url, self.registry, self.keyring = url, registry, keyring
        self.workers, self.batch_size = workers, batch_size
        self.on_progress, self.on_unreadable = on_progress, on_unreadable
        self.engine = direct_engine(url)
        self.tables = sealed_tables(registry.metadata, self.engine.dialect)
        self.rotated: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.proved: Counter[str] = Counter()
        self.unproved: Counter[str] = Counter()
        self.reported: set[tuple[str, str]] = set()

    def check(self, force: bool = False, register: bool = True) -> None:
        """Refuse what must not start: :class:`RotationRefused`, or :class:`~registry.KeyRefused` by the start-up check.

        force: go on although the primary key is not the newest registered one, to go back to an older key on purpose.
        register: register the primary key if it is new. Without that nothing is written.
        """
        if not self.tables:
            raise RotationRefused("No encrypted column was found in the models: there must be some.")
        if register:
            self.registry.check_and_register(self.engine, self.keyring)
        with self.engine.connect() as connection:
            self.registry.check(connection, self.keyring)
            if not self.registry.is_migrated(connection):
                raise RotationRefused("The database is not migrated: run `flask db upgrade` first.")
            *older, newest = self.registry.registered(connection) or [self.keyring.primary.id]
        if self.keyring.primary.id in older and not force:
            raise RotationRefused(
                f"ENCRYPTION_KEY is {self.keyring.primary.id}, but {newest} was registered after it: were the keys "
                f"swapped by mistake? Make {newest} the ENCRYPTION_KEY, or use --force to go back to the older key."
            )

    def count(self) -> tuple[int, int]:
        """How many values are sealed under another key than the primary, and how many there are at all."""
        counts = self._count().values()
        return sum(count.others for count in counts), sum(count.total - count.null for count in counts)

    def run(self) -> Result:
        """Re-encrypt and prove. Raises :class:`~connections.RotationRunning`, or :class:`~workers.WorkerFailed`."""
        started = time.monotonic()
        with exclusive(self.engine):
            run_id = self._record_start()
            self.re_encrypt(run_id)
            self.prove(run_id)
            result = self._result(started)
            if result.remaining > self.unreadable.total():
                result.still_written = self._other_keys_in_use()
            self._record_end(run_id, result)
        return result

    def try_out(self) -> Result:
        """What :meth:`run` would meet: counts, and which values would not open. Writes nothing."""
        started = time.monotonic()
        for progress in self._share_out(open_values, "not primary", self.keyring):
            self.unreadable.update(value.column for value in progress.unreadable)
            self._report(progress)
        for progress in self._share_out(open_values, "primary", self.keyring.only_primary()):
            self.unproved.update(value.column for value in progress.unreadable)
            self._report(progress)
        return self._result(started)

    def verify(self) -> int:
        """Open every value with the whole keyring; returns how many opened. Writes nothing."""
        opened = 0
        wanted: Wanted
        for wanted in ("not primary", "primary"):  # in which direction a rotation beside this moves them
            for progress in self._share_out(open_values, wanted, self.keyring):
                opened += progress.done.total()
                self._report(progress)
        return opened

    def re_encrypt(self, run_id: int | None = None) -> None:
        """Seal anew, in as many passes as it takes, what is not under the primary key.

        A pass leaves behind the rows that were locked or changed while it worked, and meets what processes that do not
        have the new key yet wrote meanwhile. Gives up when several passes in a row come no closer to the end.
        """
        fewest: int | None = None
        stalled = 0
        while stalled < PASSES_WITHOUT_PROGRESS:
            unreadable: Counter[str] = Counter()
            if run_id is not None:  # every pass meets the same ones
                self._record(run_id, unreadable=0)
            for progress in self._share_out(re_encrypt_values, "not primary", self.keyring, run_id):
                self.rotated.update(progress.done)
                unreadable.update(value.column for value in progress.unreadable)
                self._report(progress)
            self.unreadable = unreadable
            left = self.count()[0] - unreadable.total()
            if left <= 0:
                return
            stalled = 0 if fewest is None or left < fewest else stalled + 1
            fewest = left if fewest is None else min(left, fewest)
            time.sleep(0.1 * 2**stalled)

    def prove(self, run_id: int | None = None) -> None:
        """Open every value under the primary key with a keyring that holds nothing else."""
        for progress in self._share_out(open_values, "primary", self.keyring.only_primary(), run_id):
            self.proved.update(progress.done)
            self.unproved.update(value.column for value in progress.unreadable)
            self._report(progress)

    def _share_out(
        self,
        work: Callable[[Share], Iterator[Progress]],
        wanted: Wanted,
        keyring: Keyring,
        run_id: int | None = None,
    ) -> Iterator[Progress]:
        with open_batches(self.url, self.keyring.primary.id) as batches:
            parts = [
                [(table, part) for part in batches.split(table, wanted, self.workers, self.batch_size)]
                for table in self.tables
            ]
        secrets = keyring.secrets()
        yield from share_out(
            work,
            [
                Share(self.url, secrets, tuple(filter(None, own)), self.batch_size, wanted, run_id)
                for own in zip_longest(*parts)
            ],
        )

    def _report(self, progress: Progress) -> None:
        """Tell each unreadable value once, although every pass meets it."""
        self.on_progress(progress.done.total())
        for value in progress.unreadable:
            if (value.column, value.row) not in self.reported:
                self.reported.add((value.column, value.row))
                self.on_unreadable(value)

    def _count(self) -> dict[str, ColumnCount]:
        with open_batches(self.url, self.keyring.primary.id) as batches:
            return {
                column.name: count
                for table in self.tables
                for column, count in zip(table.columns, batches.count(table), strict=True)
            }

    def _result(self, started: float) -> Result:
        columns = []
        remaining = 0
        for name, count in self._count().items():
            rotated, unreadable = self.rotated[name], self.unreadable[name] + self.unproved[name]
            already = max(0, count.primary - rotated - self.unproved[name])
            columns.append(ColumnResult(name, count.total, count.null, rotated, already, unreadable))
            remaining += count.others
        return Result(
            primary=self.keyring.primary.id,
            columns=columns,
            rotated=self.rotated.total(),
            unreadable=self.unreadable.total() + self.unproved.total(),
            proved=self.proved.total(),
            remaining=remaining,
            seconds=round(time.monotonic() - started, 3),
        )

    def _record_start(self) -> int:
        rotations = self.registry.rotations
        others = [key_id for key_id in self._registered() if key_id != self.keyring.primary.id]
        values = {
            "from_key_ids": ",".join(others),
            "to_key_id": self.keyring.primary.id,
            "started_at": datetime.now(UTC),
            "planned": self.count()[0],
            "rotated": 0,
            "unreadable": 0,
            "proved": 0,
        }
        with self.engine.begin() as connection:
            return int(connection.execute(insert(rotations).values(values).returning(rotations.c.id)).scalar_one())

    def _record_end(self, run_id: int, result: Result) -> None:
        """The workers' commits do not wait for the disk; this one does, and takes theirs along."""
        self._record(
            run_id,
            finished_at=datetime.now(UTC),
            unreadable=result.unreadable,
            proved=result.proved,
            remaining=result.remaining,
        )

    def _record(self, run_id: int, **values: Any) -> None:
        rotations = self.registry.rotations
        with self.engine.begin() as connection:
            connection.execute(update(rotations).where(rotations.c.id == run_id).values(values))

    def _other_keys_in_use(self) -> list[str]:
        with self.engine.connect() as connection:
            counts = [self.registry.count_values(connection, column) for column in inventory(self.registry.metadata)]
        used = {key_id for count in counts for key_id in count if key_id is not None}
        return sorted(used - {self.keyring.primary.id, NO_KEY_ID})

    def _registered(self) -> list[str]:
        with self.engine.connect() as connection:
            return self.registry.registered(connection)
