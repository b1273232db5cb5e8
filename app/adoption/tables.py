"""Tables of another application's database: read by their key, one row at a time and each as it is in that moment, so
that nothing is held open meanwhile and memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    CHAR,
    URL,
    ColumnElement,
    Connection,
    Engine,
    Inspector,
    Text,
    cast,
    column,
    create_engine,
    func,
    inspect,
    make_url,
    select,
    table,
    update,
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.expression import TableClause

from app.adoption.mapping import Section
from app.adoption.sources import NotBlanked, Record, SourceFailed
from app.database import ForeignSqlite

KEYS_AT_A_TIME: Final = 1_000
SQLITE_BUSY_SECONDS: Final = 5
# Whoever does not see every row gets an error and not fewer rows.
_READING: Final = "SET TRANSACTION READ ONLY; SET LOCAL row_security = off; SET LOCAL statement_timeout = '60s'"
_BLANKING: Final = "SET LOCAL row_security = off; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '60s'"
INSUFFICIENT_PRIVILEGE: Final = "42501"
HELD_BY_OTHERS: Final = {"55P03", "57014", "40P01", "40001", "SQLITE_BUSY", "SQLITE_LOCKED"}
OUR_TABLES: Final = ("encryption_keys", "retired_encryption_keys")


def source_engine(url: str, *, writes: bool) -> Engine:
    """An engine for the database that a URL of ours names. A file that is not there is not made."""
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": 1, "max_overflow": 1}
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": SQLITE_BUSY_SECONDS, "factory": _Connection}
        mode = {"mode": "rw" if writes else "ro", "uri": "true"}
        parsed = URL.create("sqlite", database=f"file:{quote(parsed.database or '')}", query=mode)
        options["execution_options"] = {"sqlite_begin": "DEFERRED"}
    else:
        keep_alive = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
        options["connect_args"] = {"connect_timeout": 10, "prepare_threshold": None, **keep_alive}
    return create_engine(parsed, **options)


class _Connection(ForeignSqlite):
    """Overwrites what is blanked, and reads text that is none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        self.execute("PRAGMA secure_delete = ON")


class TableSource:
    """The table of one section. Every method raises :class:`~app.adoption.sources.SourceFailed`."""

    def __init__(self, engine: Engine, section: Section) -> None:
        assert section.table is not None
        self.place = section.table
        self._engine, self._section = engine, section
        # Known once the database was asked.
        self._table = self._joined = table("")
        self._key: ColumnElement[Any] = column("")
        self._columns: dict[str, ReflectedColumn] = {}

    def problems(self) -> list[str]:
        with self._transaction() as connection:
            schema = inspect(connection)
            found = _reflected(schema, self.place)
            if found is None:
                return [f"There is no table {self.place}."]
            self._table, self._columns = found
            if all(schema.has_table(name, self._table.schema) for name in OUR_TABLES):
                return [f"The table {self.place} is of a database of AudiaPro, and not of another application."]
            return [*self._key_problems(connection, schema), *self._join_problems(schema), *self._column_problems()]

    def _key_problems(self, connection: Connection, schema: Inspector) -> Iterator[str]:
        names = schema.get_pk_constraint(self._table.name, self._table.schema)["constrained_columns"]
        if len(names) != 1:
            yield f"The table {self.place} has no primary key of one column, by which its rows could be told apart."
            return
        self._key = self._table.c[names[0]]
        unkeyed = connection.scalar(select(func.count()).select_from(self._table).where(self._key.is_(None)))
        if unkeyed:  # SQLite allows it
            yield f"The table {self.place} has rows whose primary key is empty: {unkeyed} of them."

    def _join_problems(self, schema: Inspector) -> Iterator[str]:
        join = self._section.join
        if join is None:
            return
        if join.column not in self._columns:
            yield f"The table {self.place} has no column {join.column}."
        found = _reflected(schema, join.table)
        if found is None:
            yield f"There is no table {join.table}."
            return
        self._joined, _ = found
        where = self._joined.name, self._joined.schema
        unique: list[Any] = [schema.get_pk_constraint(*where)["constrained_columns"]]
        unique += [constraint["column_names"] for constraint in schema.get_unique_constraints(*where)]
        unique += [index["column_names"] for index in schema.get_indexes(*where) if index["unique"]]
        if [join.matches] not in unique:
            yield f"The column {join.matches} of the table {join.table} is not there, or not unique."

    def _column_problems(self) -> Iterator[str]:
        for name in self._section.columns():
            owner, plain = self._find(name)
            if plain not in owner.c:
                yield f"The table {owner.name or self.place} has no column {plain}."
        for secret in self._section.secrets().values():
            if self._find(secret.column)[0] is not self._table:
                yield f"The column {secret.column} is of another table: a secret has to be of {self.place} itself."

    def count(self) -> int:
        with self._transaction() as connection:
            return connection.execute(select(func.count()).select_from(self._table)).scalar_one()

    def each_key(self) -> Iterator[object]:
        following = select(self._key).order_by(self._key).limit(KEYS_AT_A_TIME)
        statement = following
        while True:
            with self._transaction() as connection:
                found = list(connection.scalars(statement))
            yield from found
            if len(found) < KEYS_AT_A_TIME:
                return
            statement = following.where(self._key > found[-1])

    def read(self, key: object) -> Record | None:
        names = self._section.columns()
        statement = select(self._key, *(self._readable(name) for name in names)).where(self._key == key)
        if (join := self._section.join) is not None:
            matches = self._table.c[join.column] == self._joined.c[join.matches]
            statement = statement.select_from(self._table.outerjoin(self._joined, matches))
        with self._transaction() as connection:
            found = connection.execute(statement).one_or_none()
        return None if found is None else dict(zip(names, found[1:], strict=True))

    def told_twice(self, name: str) -> set[object]:
        wanted = self._readable(name)
        several = select(wanted).where(wanted.is_not(None)).group_by(wanted).having(func.count() > 1)
        with self._transaction() as connection:
            return set(connection.scalars(several))

    def blank(self, key: object, record: Record, columns: Collection[str]) -> None:
        as_read = [self._table.c[name] == record[name] for name in columns]
        values = {name: self._nothing_in(name, record[name]) for name in columns}
        statement = update(self._table).where(self._key == key, *as_read).values(values)
        with self._transaction(writes=True) as connection:
            changed = connection.execute(statement).rowcount
        if changed != 1:
            raise NotBlanked("was changed or removed in this very moment: run the command again")

    def _nothing_in(self, name: str, value: object) -> object:
        if self._columns[name]["nullable"]:
            return None
        return "" if isinstance(value, str) else b""

    def _readable(self, name: str) -> ColumnElement[Any]:
        """PostgreSQL fills CHAR(n) with blanks that are not the value's."""
        owner, plain = self._find(name)
        is_filled = owner is self._table and isinstance(self._columns[plain]["type"], CHAR)
        found = owner.c[plain]
        return cast(found, Text) if is_filled and self._engine.dialect.name == "postgresql" else found

    def _find(self, name: str) -> tuple[TableClause, str]:
        """Of which table a column is, and what it is called there."""
        prefix = f"{self._section.join.table}." if self._section.join is not None else ""
        is_joined = bool(prefix) and name.startswith(prefix)
        return (self._joined, name.removeprefix(prefix)) if is_joined else (self._table, name)

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    settings = _BLANKING if writes else _READING
                    connection.exec_driver_sql(settings, execution_options={"no_parameters": True})
                elif writes:
                    connection = connection.execution_options(sqlite_begin="IMMEDIATE")
                yield connection
                connection.commit()
        except DBAPIError as error:  # its text may hold a row
            raise _told(error, writes) from None
        except UnicodeEncodeError:
            raise SourceFailed(f"A primary key of the table {self.place} is not UTF-8 text: mend it there.") from None


def _told(error: DBAPIError, writes: bool) -> SourceFailed | NotBlanked:
    state = _state(error)
    if writes and state in HELD_BY_OTHERS:
        return NotBlanked("is held by somebody else: run the command again")
    if writes and isinstance(error, IntegrityError):
        return NotBlanked("cannot be blanked: a constraint of the source refuses it")
    if state == INSUFFICIENT_PRIVILEGE:
        return SourceFailed("The source's login may not do that, or does not see every row: use the tables' owner.")
    return SourceFailed(
        f"Broken off by the source ({type(error.orig).__name__} {state}). Nothing is lost; run the command again to go "
        "on."
    )


def _state(error: DBAPIError) -> str:
    if isinstance(error.orig, sqlite3.Error):
        return str(getattr(error.orig, "sqlite_errorname", ""))
    return str(getattr(error.orig, "sqlstate", None) or "")


def _reflected(schema: Inspector, name: str) -> tuple[TableClause, dict[str, ReflectedColumn]] | None:
    """A table whose columns have the raw values that the driver gives; None if there is none of that name.

    name: with the schema and a dot before it, where it is in another than the login's own.
    """
    folder, _, plain = name.rpartition(".")
    if not schema.has_table(plain, folder or None):
        return None
    columns = {found["name"]: found for found in schema.get_columns(plain, folder or None)}
    return table(plain, *map(column, columns), schema=folder or None), columns
