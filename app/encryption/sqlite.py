"""The part of a rotation's SQL that is SQLite's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from app.encryption.batches import MAXIMUM_BATCH_BYTES, Batches, Replacements, SealedTable, Wanted


class SqliteBatches(Batches):
    """Writes a batch in a transaction that holds the database's one write lock from its start."""

    placeholder = "?"

    def __init__(self, connection: Connection, primary_id: str) -> None:
        super().__init__(connection, primary_id)
        # A damaged byte makes a value that does not open, and must not keep the driver from handing out the rest.
        driver: Any = connection.connection.dbapi_connection
        driver.text_factory = _read_text

    def look_at(
        self, table: SealedTable, wanted: Wanted, rows: str, bounds: Sequence[str], batch_size: int
    ) -> Sequence[Row[Any]]:
        ids = [_uuid_as_text(name) if is_uuid else f"CAST({name} AS TEXT)" for name, is_uuid in table.ids]
        sql = f"SELECT {', '.join([table.key, *ids, *self.wanted_values(table, wanted)])} {rows}"
        found: list[Row[Any]] = []
        size = 0
        # One row after the other, as SQLite comes across them: what is beyond the limit is never read.
        with self.connection.exec_driver_sql(sql, (*self.primary_ids(table), *bounds)) as result:
            for number, row in enumerate(result, start=1):
                values = [value for value in row[1 + len(ids) :] if value is not None]
                size += sum(map(len, values))
                if found and size > MAXIMUM_BATCH_BYTES:
                    break
                if values or number == batch_size:
                    found.append(row)
        return found

    def write(self, table: SealedTable, replacements: Replacements) -> list[int]:
        # Only what is replaced: SQLite then leaves another value of the row alone that it would refuse by now.
        alike: dict[tuple[int, ...], list[tuple[str | None, ...]]] = {}
        for key, old, new in zip(
            replacements.keys, zip(*replacements.old, strict=True), zip(*replacements.new, strict=True), strict=True
        ):
            changed = tuple(n for n, value in enumerate(new) if value is not None)
            parameters = (*(new[n] for n in changed), key, *(old[n] for n in changed))
            alike.setdefault(changed, []).append(parameters)
        written = [0] * len(table.columns)
        for changed, rows in alike.items():
            storages = [table.columns[n].storage for n in changed]
            sql = (
                f"UPDATE {table.name} SET {', '.join(f'{storage} = ?' for storage in storages)}"
                f" WHERE {table.key} = ? AND {' AND '.join(f'{storage} = ?' for storage in storages)}"
            )
            count = self.connection.exec_driver_sql(sql, rows).rowcount
            for n in changed:
                written[n] += count
        return written

    def key_as_text(self, key: str) -> str:
        return key


def _uuid_as_text(column: str) -> str:
    """SQL that gives a UUID, which is kept as 32 hex digits, as canonical text."""
    groups = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    parts = " || '-' || ".join(f"substr({column}, {start}, {length})" for start, length in groups)
    return f"lower({parts})"


def _read_text(data: bytes) -> str:
    return data.decode(errors="replace")
