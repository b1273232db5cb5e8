"""The SQL of a rotation: reading sealed values in batches, and putting new ones in their place.

Values are read without locks and written with compare-and-swap: a new value goes in only where the old one still is, so
whoever wrote in between wins. Rows that somebody else holds are skipped, so nobody waits and nothing deadlocks.

What both databases have in common is here, and the rest in :mod:`postgresql` and :mod:`sqlite`. Tables are described by
plain strings, which can be handed to a worker process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise, repeat
from typing import Any, ClassVar, Final, Literal, NamedTuple

from sqlalchemy import Connection, Dialect, MetaData, Row, Uuid
from sqlalchemy.exc import IntegrityError

from app.encryption.keyring import PLATFORM, Context
from app.encryption.storage import EncryptedColumn, inventory
from app.encryption.workers import WorkerFailed

MAXIMUM_BATCH_BYTES: Final = 8 * 1024 * 1024

Wanted = Literal["not primary", "primary"]


class SealedColumn(NamedTuple):
    """An encrypted column by its public name and those in SQL. ``owner`` and ``row`` are positions in
    :attr:`SealedTable.ids`."""

    name: str
    storage: str
    key_id: str
    owner: int | None
    row: int


class SealedTable(NamedTuple):
    """A table with encrypted columns, by names as they stand in SQL. ``ids``: the columns that hold ids, the primary
    key first; whether a UUID. ``key_type``: the primary key's type."""

    name: str
    ids: tuple[tuple[str, bool], ...]
    key_type: str
    columns: tuple[SealedColumn, ...]

    @property
    def key(self) -> str:
        return self.ids[0][0]


class Part(NamedTuple):
    """A share of a table's rows: primary keys from ``first`` on, before ``end``. None leaves that side open."""

    first: str | None = None
    end: str | None = None


class Batch(NamedTuple):
    """Rows of one table as read: their primary keys, and per column the contexts and the values of all these rows.
    A value is None where nothing is wanted."""

    keys: Sequence[str]
    contexts: Sequence[Sequence[Context]]
    values: Sequence[Sequence[str | None]]


class Replacements(NamedTuple):
    """For rows of one table: their primary keys, and per column the old and the new values of all these rows.
    None twice leaves a value alone."""

    keys: Sequence[str]
    old: Sequence[Sequence[str | None]]
    new: Sequence[Sequence[str | None]]

    def of(self, rows: Sequence[int]) -> Replacements:
        """Only those of the rows at these positions."""
        return Replacements(
            [self.keys[row] for row in rows],
            [[column[row] for row in rows] for column in self.old],
            [[column[row] for row in rows] for column in self.new],
        )


def sealed_tables(metadata: MetaData, dialect: Dialect) -> list[SealedTable]:
    """Every table with encrypted columns, from the models' metadata, for the database of ``dialect``."""
    return [
        _describe(list(columns), dialect)
        for _, columns in groupby(inventory(metadata), key=lambda column: column.table.name)
    ]


def _describe(columns: list[EncryptedColumn], dialect: Dialect) -> SealedTable:
    names = dialect.identifier_preparer
    key = columns[0].key
    ids = [key]
    for column in columns:
        ids += [wanted for wanted in (column.owner, column.row) if wanted is not None and wanted not in ids]
    return SealedTable(
        names.format_table(columns[0].table),
        tuple((names.format_column(column), isinstance(column.type, Uuid)) for column in ids),
        key.type.compile(dialect),
        tuple(
            SealedColumn(
                column.name,
                names.format_column(column.storage),
                names.format_column(column.key_id),
                None if column.owner is None else ids.index(column.owner),
                ids.index(column.row),
            )
            for column in columns
        ),
    )


class PrimaryRetired(WorkerFailed):
    """The key that values are to be sealed under is not registered any more."""


class ColumnCount(NamedTuple):
    """Rows, empty values, and values under the primary key."""

    total: int
    null: int
    primary: int

    @property
    def others(self) -> int:
        """Values under other keys than the primary."""
        return self.total - self.null - self.primary


class Batches(ABC):
    """Reads and writes batches over one connection, which has no transaction open in between."""

    placeholder: ClassVar[str]

    def __init__(self, connection: Connection, primary_id: str) -> None:
        self.connection = connection
        self.primary_id = primary_id

    def count(self, table: SealedTable) -> list[ColumnCount]:
        """Per column how many values there are, and how many of them are under the primary key."""
        counted = ", ".join(
            f"count({column.key_id}), count(*) FILTER (WHERE {column.key_id} = {self.placeholder})"
            for column in table.columns
        )
        sql = f"SELECT count(*), {counted} FROM {table.name}"
        with self._reading() as connection:
            total, *counts = connection.exec_driver_sql(sql, self.primary_ids(table)).one()
        return [
            ColumnCount(total, total - values, primary)
            for values, primary in zip(counts[::2], counts[1::2], strict=True)
        ]

    def split(self, table: SealedTable, wanted: Wanted, parts: int, least_rows: int) -> list[Part]:
        """Divide the wanted rows into at most ``parts`` shares of the same size, none of fewer than ``least_rows``."""
        if parts == 1:
            return [Part()]
        rows = f"FROM {table.name} WHERE {self._is_wanted(table, wanted)}"
        with self._reading() as connection:
            total = connection.exec_driver_sql(f"SELECT count(*) {rows}", self.primary_ids(table)).scalar_one()
            size = max(-(-total // parts), least_rows)
            sql = (
                f"SELECT {self.key_as_text(table.key)}"
                f" FROM (SELECT {table.key}, row_number() OVER (ORDER BY {table.key}) - 1 AS n {rows}) numbered"
                f" WHERE n > 0 AND n - n / {size} * {size} = 0 ORDER BY numbered.{table.key}"
            )
            cuts = connection.exec_driver_sql(sql, self.primary_ids(table)).scalars() if total > size else ()
            limits = [None, *cuts, None]
        return [Part(first, end) for first, end in pairwise(limits)]

    def read(self, table: SealedTable, part: Part, wanted: Wanted, batch_size: int) -> Iterator[Batch]:
        """What is wanted of a part, in the order of its keys: of ``batch_size`` rows of the table at a time, or of so
        many that their values come to 8 MiB, but always at least one.

        Each batch is found by the key that the last one ended with: how deep it lies makes no difference. Nor do the
        database's statistics, which are out of date as soon as a rotation begins, and would have it sort whole tables
        for each batch if what it takes by order and number depended on what is wanted.
        """
        after: str | None = None
        while rows := self._read_after(table, part, after, wanted, batch_size):
            after = rows[-1][0]
            if all(value is None for value in rows[-1][1 + len(table.ids) :]):
                rows = rows[:-1]
            if rows:
                yield _batch(table, rows)

    def _read_after(
        self, table: SealedTable, part: Part, after: str | None, wanted: Wanted, batch_size: int
    ) -> Sequence[Row[Any]]:
        """The rows with something wanted; and the last that was looked at, so that the next batch begins there."""
        bounds = [(">=", part.first) if after is None else (">", after), ("<", part.end)]
        bounds = [bound for bound in bounds if bound[1] is not None]
        conditions = " AND ".join(f"{table.key} {operator} {self.placeholder}" for operator, _ in bounds) or "true"
        rows = f"FROM {table.name} WHERE {conditions} ORDER BY {table.key} LIMIT {int(batch_size)}"
        with self._reading():
            return self.look_at(table, wanted, rows, [key for _, key in bounds if key is not None], batch_size)

    def replace(self, table: SealedTable, replacements: Replacements, run_id: int | None) -> list[int]:
        """Put the new values in place where the old ones still are, in one transaction with the run's record.

        Returns how many values of each column were written. The other rows were changed, deleted or locked by
        somebody.
        """
        try:
            return self._replace(table, replacements, run_id)
        except IntegrityError:  # a row holds, in another column, what its table would refuse by now: spare the others
            self._require_primary()
            rows = len(replacements.keys)
            if rows == 1:
                return [0] * len(table.columns)
            halves = replacements.of(range(rows // 2)), replacements.of(range(rows // 2, rows))
            written = [self.replace(table, half, run_id) for half in halves]
            return [sum(counts) for counts in zip(*written, strict=True)]

    def _replace(self, table: SealedTable, replacements: Replacements, run_id: int | None) -> list[int]:
        with self.connection.execution_options(sqlite_begin="IMMEDIATE").begin():
            written = self.write(table, replacements)
            self._record(run_id, "rotated", sum(written))  # last: workers queue for its row, and the commit follows
        return written

    def _require_primary(self) -> None:
        """Nothing can be sealed under a key that is not registered: there is no point in trying row by row."""
        sql = f"SELECT count(*) FROM encryption_keys WHERE id = {self.placeholder}"
        with self._reading() as connection:
            if not connection.exec_driver_sql(sql, (self.primary_id,)).scalar_one():
                raise PrimaryRetired(f"the primary key {self.primary_id} was retired while the rotation ran")

    def record(self, run_id: int | None, what: str, values: int) -> None:
        """Add to what the record of the run says is done so far."""
        if values and run_id is not None:
            with self.connection.execution_options(sqlite_begin="IMMEDIATE").begin():
                self._record(run_id, what, values)

    def _record(self, run_id: int | None, what: str, values: int) -> None:
        if run_id is not None:
            sql = f"UPDATE encryption_rotations SET {what} = {what} + {self.placeholder} WHERE id = {self.placeholder}"
            self.connection.exec_driver_sql(sql, (values, run_id))

    @abstractmethod
    def look_at(
        self, table: SealedTable, wanted: Wanted, rows: str, bounds: Sequence[str], batch_size: int
    ) -> Sequence[Row[Any]]:
        """Of the ``batch_size`` rows at most that the clause ``rows``, with the parameters ``bounds``, gives: those
        with something wanted, up to 8 MiB of it, and the last one. Primary key, ids as text, and wanted values."""

    @abstractmethod
    def write(self, table: SealedTable, replacements: Replacements) -> list[int]:
        """Put new values in place in the open transaction. Returns how many of each column."""

    @abstractmethod
    def key_as_text(self, key: str) -> str:
        """SQL that gives a primary key as something which the database reads as that key again."""

    def wanted_values(self, table: SealedTable, wanted: Wanted) -> list[str]:
        """SQL that gives each column's value, or NULL where it is not wanted. Takes :meth:`primary_ids`."""
        return [
            f"CASE WHEN {self._is_wanted_value(column, wanted)} THEN {column.storage} END AS {column.storage}"
            for column in table.columns
        ]

    def primary_ids(self, table: SealedTable) -> tuple[str, ...]:
        """The primary key's id once for each column."""
        return (self.primary_id,) * len(table.columns)

    def _is_wanted(self, table: SealedTable, wanted: Wanted) -> str:
        return " OR ".join(self._is_wanted_value(column, wanted) for column in table.columns)

    def _is_wanted_value(self, column: SealedColumn, wanted: Wanted) -> str:
        return f"{column.key_id} {'=' if wanted == 'primary' else '<>'} {self.placeholder}"

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A transaction that ends with the block: between batches none is open."""
        with self.connection.execution_options(sqlite_begin="DEFERRED").begin():
            yield self.connection


def _batch(table: SealedTable, rows: Sequence[Row[Any]]) -> Batch:
    keys, *columns = zip(*rows, strict=True)
    ids, values = columns[: len(table.ids)], columns[len(table.ids) :]
    contexts = []
    for column in table.columns:
        owners = repeat(PLATFORM, len(rows)) if column.owner is None else ids[column.owner]
        contexts.append([Context(column.name, *bound) for bound in zip(owners, ids[column.row], strict=True)])
    return Batch(keys, contexts, values)
