"""The part of a rotation's SQL that is PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from app.encryption.batches import Batches, Replacements, SealedTable


class PostgresBatches(Batches):
    """Writes a batch with one multi-row UPDATE, of the rows that nobody else holds."""

    placeholder = "%s"
    length_function = "octet_length"

    def __init__(self, connection: Connection, primary_id: str) -> None:
        super().__init__(connection, primary_id)
        # Row-level security must not hide rows: an error is wanted where it would. A commit need not wait for the
        # disk, because a batch that a crash undoes is simply still to do; the run's last commit waits for all.
        for setting in ("row_security = off", "synchronous_commit = off", "lock_timeout = '10s'"):
            connection.exec_driver_sql(f"SET SESSION {setting}")
        connection.commit()

    def write(self, table: SealedTable, replacements: Replacements) -> list[int]:
        key = f"{table.name}.{table.key}"
        storages = [f"{table.name}.{column.storage}" for column in table.columns]
        olds, news = ([f"{name}_{n}" for n in range(len(storages))] for name in ("old", "new"))
        types = ["uuid[]" if table.ids[0][1] else "text[]", *["text[]"] * len(olds + news)]
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
        arrays = [_array(column) for column in (replacements.keys, *replacements.old, *replacements.new)]
        parameters = (*arrays, replacements.keys[0], replacements.keys[-1])
        return list(self.connection.exec_driver_sql(sql, parameters).one())

    def key_as_text(self, column: str) -> str:
        return f"{column}::text"

    uuid_as_text = key_as_text


def _array(values: Iterable[str | None]) -> str:
    """An array literal. Keys and sealed values hold nothing that would need quoting."""
    return "{" + ",".join([value or "NULL" for value in values]) + "}"
