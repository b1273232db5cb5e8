"""The SQL of a rotation: reading sealed values in batches, and putting new ones in their place.

Values are read without locks and written with compare-and-swap: a new value goes in only where the old one still is, so
whoever wrote in between wins. Rows that somebody else holds are skipped, so nobody waits and nothing deadlocks.

Everything here is made of plain strings, so that it can be handed to a worker process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, MetaData, Uuid
from sqlalchemy.exc import IntegrityError

from app.encryption.keyring import PLATFORM, Context
from app.encryption.storage import EncryptedColumn, inventory

MAXIMUM_BATCH_BYTES: Final = 8 * 1024 * 1024

Wanted = Literal["not primary", "primary"]


class SealedColumn(NamedTuple):
    """An encrypted column by its names. ``owner`` and ``row`` are positions in :attr:`SealedTable.ids`."""

    name: str
    storage: str
    key_id: str
    owner: int | None
    row: int


class SealedTable(NamedTuple):
    """A table with encrypted columns. ``ids``: the columns that hold ids, the primary key first; whether a UUID."""

    name: str
    ids: tuple[tuple[str, bool], ...]
    columns: tuple[SealedColumn, ...]

    @property
    def key(self) -> str:
        return self.ids[0][0]


class Part(NamedTuple):
    """A share of a table's rows: primary keys from ``first`` on, before ``end``. None leaves that side open."""

    first: str | None = None
    end: str | None = None


class SealedRow(NamedTuple):
    """One row as read: its primary key, and per column the context and the value, None where nothing is wanted."""

    key: str
    contexts: tuple[Context, ...]
    values: tuple[str | None, ...]


class Replacement(NamedTuple):
    """Per column of one row the old and the new value; None twice leaves that column alone."""

    key: str
    old: tuple[str | None, ...]
    new: tuple[str | None, ...]


def sealed_tables(metadata: MetaData) -> list[SealedTable]:
    """Every table with encrypted columns, from the models' metadata."""
    return [
        _describe(table_name, list(columns))
        for table_name, columns in groupby(inventory(metadata), key=lambda column: column.table.name)
    ]


def _describe(table_name: str, columns: list[EncryptedColumn]) -> SealedTable:
    ids = [columns[0].key]
    for column in columns:
        ids += [wanted for wanted in (column.owner, column.row) if wanted is not None and wanted not in ids]
    return SealedTable(
        table_name,
        tuple((column.name, isinstance(column.type, Uuid)) for column in ids),
        tuple(
            SealedColumn(
                column.name,
                column.storage.name,
                column.key_id.name,
                None if column.owner is None else ids.index(column.owner),
                ids.index(column.row),
            )
            for column in columns
        ),
    )


class ColumnCount(NamedTuple):
    """Rows, empty values, and values under the primary key."""

    total: int
    null: int
    primary: int

    @property
    def others(self) -> int:
        """Values under other keys than the primary."""
        return self.total - self.null - self.primary


class Batches:
    """Reads and writes batches over one connection, which has no transaction open in between."""

    placeholder: str
    length_function: str  # counts a value's bytes without fetching it

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
            total, *counts = connection.exec_driver_sql(sql, self._primary_ids(table)).one()
        return [
            ColumnCount(total, total - values, primary)
            for values, primary in zip(counts[::2], counts[1::2], strict=True)
        ]

    def split(self, table: SealedTable, wanted: Wanted, parts: int) -> list[Part]:
        """Divide the wanted rows into at most ``parts`` shares of the same size."""
        sql = (
            f"SELECT {self.id_as_text(table.key)} FROM (SELECT {table.key},"
            f" row_number() OVER (ORDER BY {table.key}) - 1 AS n, (count(*) OVER () + {parts - 1}) / {parts} AS size"
            f" FROM {table.name} WHERE {self._is_wanted(table, wanted)}) numbered"
            f" WHERE n > 0 AND n - n / size * size = 0 ORDER BY {table.key}"
        )
        with self._reading() as connection:
            cuts = [] if parts == 1 else list(connection.exec_driver_sql(sql, self._primary_ids(table)).scalars())
        return [Part(first, end) for first, end in zip([None, *cuts], [*cuts, None], strict=True)]

    def read(self, table: SealedTable, part: Part, wanted: Wanted, batch_size: int) -> Iterator[list[SealedRow]]:
        """The wanted rows of a part in the order of their keys, ``batch_size`` or 8 MiB at a time, at least one row.

        Each batch is found by the key that the last one ended with: how deep it lies makes no difference.
        """
        after: str | None = None
        while rows := self._read_after(table, part, after, wanted, batch_size):
            yield rows
            after = rows[-1].key

    def _read_after(
        self, table: SealedTable, part: Part, after: str | None, wanted: Wanted, batch_size: int
    ) -> list[SealedRow]:
        bounds = [(">=", part.first) if after is None else (">", after), ("<", part.end)]
        bounds = [bound for bound in bounds if bound[1] is not None]
        conditions = [f"{table.key} {operator} {self.placeholder}" for operator, _ in bounds]
        conditions.append(f"({self._is_wanted(table, wanted)})")
        ids = ", ".join(name for name, _ in table.ids)
        values, sizes = [], []
        for column in table.columns:
            this = f"CASE WHEN {self._is_wanted_value(column, wanted)} THEN"
            values.append(f"{this} {column.storage} END AS {column.storage}")
            sizes.append(f"{this} {self.length_function}({column.storage}) ELSE 0 END")
        # The window adds up the sizes of the rows that the limit lets through, and reads no value to do so.
        sql = (
            f"SELECT {', '.join(self.id_as_text(name) for name, _ in table.ids)},"
            f" {', '.join(column.storage for column in table.columns)}"
            f" FROM (SELECT {ids}, {', '.join(values)}, row_number() OVER (ORDER BY {table.key}) AS n,"
            f" sum({' + '.join(sizes)}) OVER (ORDER BY {table.key} ROWS UNBOUNDED PRECEDING) AS bytes"
            f" FROM {table.name} WHERE {' AND '.join(conditions)} ORDER BY {table.key} LIMIT {int(batch_size)}) batch"
            f" WHERE bytes <= {MAXIMUM_BATCH_BYTES} OR n = 1 ORDER BY {table.key}"
        )
        primary_ids = self._primary_ids(table)
        parameters = (*primary_ids, *primary_ids, *(key for _, key in bounds if key is not None), *primary_ids)
        with self._reading() as connection:
            return [self._row(table, row) for row in connection.exec_driver_sql(sql, parameters)]

    def _row(self, table: SealedTable, row: Sequence[str]) -> SealedRow:
        ids = [
            self.canonical(value) if is_uuid else value
            for value, (_, is_uuid) in zip(row[: len(table.ids)], table.ids, strict=True)
        ]
        return SealedRow(
            row[0],
            tuple(
                Context(column.name, PLATFORM if column.owner is None else ids[column.owner], ids[column.row])
                for column in table.columns
            ),
            tuple(row[len(table.ids) :]),
        )

    def replace(self, table: SealedTable, replacements: Sequence[Replacement], run_id: int | None) -> set[str]:
        """Put the new values in place where the old ones still are, in one transaction with the run's record.

        Returns the keys of the rows written. The others were changed, deleted or locked by somebody.
        """
        try:
            return self._replace(table, replacements, run_id)
        except IntegrityError:  # a row holds, in another column, what its table would refuse by now: spare the others
            if len(replacements) == 1:
                return set()
            middle = len(replacements) // 2
            halves = replacements[:middle], replacements[middle:]
            return set().union(*(self.replace(table, half, run_id) for half in halves))

    def _replace(self, table: SealedTable, replacements: Sequence[Replacement], run_id: int | None) -> set[str]:
        values = {replacement.key: sum(new is not None for new in replacement.new) for replacement in replacements}
        with self.connection.execution_options(sqlite_begin="IMMEDIATE").begin():
            written = self.write(table, replacements)
            if run_id is not None:  # last: workers queue for this row, and the commit follows at once
                sql = "UPDATE encryption_rotations SET rotated = rotated + {0} WHERE id = {0}"
                parameters = (sum(values[key] for key in written), run_id)
                self.connection.exec_driver_sql(sql.format(self.placeholder), parameters)
        return written

    def write(self, table: SealedTable, replacements: Sequence[Replacement]) -> set[str]:
        """The database's own way to do that in the open transaction."""
        raise NotImplementedError

    def _is_wanted(self, table: SealedTable, wanted: Wanted) -> str:
        return " OR ".join(self._is_wanted_value(column, wanted) for column in table.columns)

    def _is_wanted_value(self, column: SealedColumn, wanted: Wanted) -> str:
        return f"{column.key_id} {'=' if wanted == 'primary' else '<>'} {self.placeholder}"

    def _primary_ids(self, table: SealedTable) -> tuple[str, ...]:
        return (self.primary_id,) * len(table.columns)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A transaction that ends with the block: between batches none is open."""
        with self.connection.execution_options(sqlite_begin="DEFERRED").begin():
            yield self.connection

    def id_as_text(self, column: str) -> str:
        """An id column as SQL that gives text."""
        raise NotImplementedError

    def canonical(self, uuid: str) -> str:
        """A UUID as the database gives it, in canonical text."""
        raise NotImplementedError


class PostgresBatches(Batches):
    placeholder = "%s"
    length_function = "octet_length"

    def write(self, table: SealedTable, replacements: Sequence[Replacement]) -> set[str]:
        numbered = list(enumerate(table.columns))
        names = ["id", *(f"old_{n}" for n, _ in numbered), *(f"new_{n}" for n, _ in numbered)]
        arrays = [_array(replacement.key for replacement in replacements)]
        arrays += [_array(replacement.old[n] for replacement in replacements) for n, _ in numbered]
        arrays += [_array(replacement.new[n] for replacement in replacements) for n, _ in numbered]
        unchanged = " AND ".join(
            f"(fresh.old_{n} IS NULL OR {table.name}.{column.storage} = fresh.old_{n})" for n, column in numbered
        )
        assignments = ", ".join(
            f"{column.storage} = coalesce(fresh.new_{n}, {table.name}.{column.storage})" for n, column in numbered
        )
        types = ["uuid[]" if table.ids[0][1] else "text[]", *["text[]"] * (2 * len(numbered))]
        sql = f"""
            WITH fresh AS MATERIALIZED (
                SELECT * FROM unnest({", ".join(f"%s::{type}" for type in types)}) AS fresh ({", ".join(names)})
            ), taken AS MATERIALIZED (
                SELECT {table.name}.{table.key} AS id
                FROM {table.name} JOIN fresh ON {table.name}.{table.key} = fresh.id
                WHERE {table.name}.{table.key} BETWEEN %s AND %s AND {unchanged}
                ORDER BY {table.name}.{table.key}
                FOR NO KEY UPDATE OF {table.name} SKIP LOCKED
            )
            UPDATE {table.name} SET {assignments}
            FROM fresh JOIN taken ON taken.id = fresh.id
            WHERE {table.name}.{table.key} = fresh.id AND {table.name}.{table.key} BETWEEN %s AND %s AND {unchanged}
            RETURNING {self.id_as_text(f"{table.name}.{table.key}")}
        """
        bounds = (replacements[0].key, replacements[-1].key)  # lets the planner read the index once
        return set(self.connection.exec_driver_sql(sql, (*arrays, *bounds, *bounds)).scalars())

    def id_as_text(self, column: str) -> str:
        return f"{column}::text"

    def canonical(self, uuid: str) -> str:
        return uuid


class SqliteBatches(Batches):
    placeholder = "?"
    length_function = "length"

    def write(self, table: SealedTable, replacements: Sequence[Replacement]) -> set[str]:
        written = set()
        for replacement in replacements:
            # Only what is replaced: SQLite then leaves another value of the row alone that it would refuse by now.
            changed = [
                (column.storage, new, old)
                for column, new, old in zip(table.columns, replacement.new, replacement.old, strict=True)
                if new is not None
            ]
            sql = (
                f"UPDATE {table.name} SET {', '.join(f'{storage} = ?' for storage, _, _ in changed)}"
                f" WHERE {table.key} = ? AND {' AND '.join(f'{storage} = ?' for storage, _, _ in changed)}"
            )
            parameters = (*(new for _, new, _ in changed), replacement.key, *(old for _, _, old in changed))
            if self.connection.exec_driver_sql(sql, parameters).rowcount:
                written.add(replacement.key)
        return written

    def id_as_text(self, column: str) -> str:
        return column

    def canonical(self, uuid: str) -> str:
        return f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"


def _array(values: Iterable[str | None]) -> str:
    """An array literal. Keys and sealed values hold nothing that would need quoting."""
    return "{" + ",".join("NULL" if value is None else value for value in values) + "}"
