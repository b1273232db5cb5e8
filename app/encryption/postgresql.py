"""The part of a rotation's SQL that is PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from app.encryption.batches import MAXIMUM_BATCH_BYTES, Batches, Replacements, SealedTable, Wanted


class PostgresBatches(Batches):
    """Writes a batch with one multi-row UPDATE, of the rows that nobody else holds."""

    placeholder = "%s"

    def __init__(self, connection: Connection, primary_id: str) -> None:
        super().__init__(connection, primary_id)
        # Row-level security must not hide rows: an error is wanted where it would. A commit need not wait for the
        # disk, because a batch that a crash undoes is simply still to do; the run's last commit waits for all.
        for setting in ("row_security = off", "synchronous_commit = off", "lock_timeout = '10s'"):
            connection.exec_driver_sql(f"SET SESSION {setting}")
        connection.commit()

    def look_at(
        self, table: SealedTable, wanted: Wanted, rows: str, bounds: Sequence[str], batch_size: int
    ) -> Sequence[Row[Any]]:
        ids = [name for name, _ in table.ids]
        storages = [column.storage for column in table.columns]
        # The sizes are added up without reading a value: of those beyond the limit, none is.
        sizes = [f"coalesce(octet_length({storage}), 0)" for storage in storages]
        sql = f"""
            SELECT {", ".join(f"{name}::text" for name in [table.key, *ids])}, {", ".join(storages)}
            FROM (
                SELECT *, row_number() OVER (ORDER BY {table.key}) AS n, {" + ".join(sizes)} AS size,
                    sum({" + ".join(sizes)}) OVER (ORDER BY {table.key} ROWS UNBOUNDED PRECEDING) AS bytes
                FROM (SELECT {", ".join([*ids, *self.wanted_values(table, wanted)])} {rows}) looked_at
            ) batch
            WHERE (bytes <= {MAXIMUM_BATCH_BYTES} OR bytes = size)
            AND (n = {batch_size} OR {" OR ".join(f"{storage} IS NOT NULL" for storage in storages)})
            ORDER BY batch.{table.key}
        """
        return self.connection.exec_driver_sql(sql, (*self.primary_ids(table), *bounds)).all()

    def write(self, table: SealedTable, replacements: Replacements) -> list[int]:
        key = f"{table.name}.{table.key}"
        storages = [f"{table.name}.{column.storage}" for column in table.columns]
        olds, news = ([f"{name}_{n}" for n in range(len(storages))] for name in ("old", "new"))
        types = [f"{table.key_type}[]", *["text[]"] * len(olds + news)]
        unchanged = [
            f"(fresh.{old} IS NULL OR {value} = fresh.{old})" for value, old in zip(storages, olds, strict=True)
        ]
        assignments = [
            f"{column.storage} = coalesce(taken.{new}, {value})"
            for column, value, new in zip(table.columns, storages, news, strict=True)
        ]
        # Whoever changed a row since this statement began makes PostgreSQL look at the row as it is by now, once the
        # lock is had. From then on nobody can change it. The bounds let the planner read the index once.
        sql = f"""
            WITH taken AS MATERIALIZED (
                SELECT {key} AS id, {", ".join(f"fresh.{new}" for new in news)}
                FROM {table.name}
                JOIN unnest({", ".join(f"%s::{type}" for type in types)}) AS fresh (id, {", ".join(olds + news)})
                ON {key} = fresh.id
                WHERE {key} BETWEEN %s AND %s AND {" AND ".join(unchanged)}
                ORDER BY {key}
                FOR NO KEY UPDATE OF {table.name} SKIP LOCKED
            ), written AS (
                UPDATE {table.name} SET {", ".join(assignments)} FROM taken WHERE {key} = taken.id
                RETURNING {", ".join(f"taken.{new}" for new in news)}
            )
            SELECT {", ".join(f"count({new})" for new in news)} FROM written
        """
        arrays = [_array(column) for column in (*replacements.old, *replacements.new)]
        parameters = (list(replacements.keys), *arrays, replacements.keys[0], replacements.keys[-1])
        return list(self.connection.exec_driver_sql(sql, parameters).one())

    def key_as_text(self, key: str) -> str:
        return f"{key}::text"


def _array(values: Iterable[str | None]) -> str:
    """An array literal. Sealed values hold nothing that would need quoting."""
    return "{" + ",".join([value or "NULL" for value in values]) + "}"
