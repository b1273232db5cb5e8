"""The part of a rotation's SQL that is SQLite's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from app.encryption.batches import Batches, Replacements, SealedTable


class SqliteBatches(Batches):
    """Writes a batch row by row, in a transaction that holds the database's one write lock from its start."""

    placeholder = "?"
    length_function = "length"

    def __init__(self, connection: Connection, primary_id: str) -> None:
        super().__init__(connection, primary_id)
        # A damaged byte makes a value that does not open, and must not keep the driver from handing out the rest.
        driver: Any = connection.connection.dbapi_connection
        driver.text_factory = _read_text

    def write(self, table: SealedTable, replacements: Replacements) -> list[int]:
        written = [0] * len(table.columns)
        for key, old, new in zip(
            replacements.keys, zip(*replacements.old, strict=True), zip(*replacements.new, strict=True), strict=True
        ):
            # Only what is replaced: SQLite then leaves another value of the row alone that it would refuse by now.
            changed = [n for n, value in enumerate(new) if value is not None]
            storages = [table.columns[n].storage for n in changed]
            sql = (
                f"UPDATE {table.name} SET {', '.join(f'{storage} = ?' for storage in storages)}"
                f" WHERE {table.key} = ? AND {' AND '.join(f'{storage} = ?' for storage in storages)}"
            )
            parameters = (*(new[n] for n in changed), key, *(old[n] for n in changed))
            if self.connection.exec_driver_sql(sql, parameters).rowcount:
                for n in changed:
                    written[n] += 1
        return written

    def key_as_text(self, column: str) -> str:
        return column

    def uuid_as_text(self, column: str) -> str:
        groups = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # kept without dashes
        return " || '-' || ".join(f"substr({column}, {start}, {length})" for start, length in groups)


def _read_text(data: bytes) -> str:
    return data.decode(errors="replace")
