"""Behind an encrypted attribute in the database: its columns, what they refuse, and the inventory of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import (
    Alias,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Engine,
    ForeignKey,
    Insert,
    MetaData,
    String,
    Table,
    Text,
    Update,
    event,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.types import TypeDecorator

from app.encryption import sealed

_INFO: Final = "encrypted"


class SealedText(TypeDecorator[str]):
    """Text that holds a sealed value or NULL, and refuses to send anything else to the database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is not None and not sealed.is_sealed(value):
            raise InvalidRequestError("only a sealed value may be stored in an encrypted column")
        return cast("str | None", value)

    process_literal_param = process_bind_param  # type: ignore[assignment]


class UtcTimestamp(TypeDecorator[datetime]):
    """A point in time, aware and in UTC in Python; SQLite, which keeps no zone, stores the UTC wall clock."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a point in time needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True)
class EncryptedColumn:
    """An entry of the inventory: where the values of one encrypted attribute are, and what binds each of them.

    name: the attribute's public name, which never changes. key: the primary key, by which tables are walked.
    changed_by, used_at: columns that the table may have beside ours, with who set or removed the value, and when it was
    first used: nobody has used a value that was just set.
    owner: column with the owner's id, or None for what belongs to the platform. row: column with the row id of the
    context; the primary key, except in history tables.
    """

    name: str
    table: Table
    storage: Column[Any]
    key_id: Column[Any]
    changed_at: Column[Any]
    changed_by: Column[Any] | None
    used_at: Column[Any] | None
    key: Column[Any]
    owner: Column[Any] | None
    row: Column[Any]


def inventory(metadata: MetaData) -> list[EncryptedColumn]:
    """Every encrypted column of every table, ordered by table and name."""
    found = [
        _describe(table, column, column.info[_INFO])
        for table in metadata.tables.values()
        for column in table.columns
        if _INFO in column.info
    ]
    return sorted(found, key=lambda column: (column.table.name, column.name))


def storage_columns(attribute: str, name: str, owner: str | None = "tenant_id", row: str = "id") -> list[Column[Any]]:
    """The columns behind an encrypted attribute, for models and migrations alike.

    ``<attribute>_encrypted`` refuses anything but a sealed value by a CHECK that comes with it;
    ``<attribute>_key_id`` is cut out of the value by the database and refuses a key that is not registered;
    ``<attribute>_changed_at`` is when the value was last set or removed, which a rotation leaves alone.
    """
    storage: Column[Any] = Column(f"{attribute}_encrypted", SealedText(), info={_INFO: (attribute, name, owner, row)})
    event.listen(storage, "after_parent_attach", _append_check, propagate=True)  # to the copies that mixins make
    key_id_of_value = f"substr({storage.name}, {len(sealed.VERSION) + 2}, 8)"
    return [
        storage,
        Column(
            f"{attribute}_key_id",
            String(8),
            Computed(key_id_of_value, persisted=True),
            ForeignKey("encryption_keys.id"),
        ),
        Column(f"{attribute}_changed_at", UtcTimestamp()),
    ]


def sealed_check(column: str, name: str) -> CheckConstraint:
    """A table-level CHECK that ``column`` is NULL or has the format of a sealed value, the same on every database."""
    return CheckConstraint(
        f"substr({column}, 1, 3) = 'v1:' AND substr({column}, {sealed.PREFIX_LENGTH}, 1) = ':'"
        f" AND substr({column}, {sealed.PREFIX_LENGTH + 1}, 5) = '{sealed.TOKEN_START}'"
        f" AND length({column}) >= {sealed.MINIMUM_LENGTH}",
        name=name,
    )


def _append_check(column: Column[Any], table: Table) -> None:
    table.append_constraint(sealed_check(column.name, f"{column.info[_INFO][0]}_sealed"))


def _describe(table: Table, storage: Column[Any], info: tuple[str, str, str | None, str]) -> EncryptedColumn:
    attribute, name, owner, row = info
    if len(table.primary_key.columns) != 1:
        raise TypeError(f"table {table.name} has encrypted columns and needs a primary key of one column")
    return EncryptedColumn(
        name=name,
        table=table,
        storage=storage,
        key_id=table.c[f"{attribute}_key_id"],
        changed_at=table.c[f"{attribute}_changed_at"],
        changed_by=table.c.get(f"{attribute}_changed_by"),
        used_at=table.c.get(f"{attribute}_used_at"),
        key=next(iter(table.primary_key.columns)),
        owner=None if owner is None else table.c[owner],
        row=table.c[row],
    )


@event.listens_for(Engine, "before_execute")
def _refuse_moves_without_values(
    connection: Any, statement: Any, multiparams: Any, params: Any, execution_options: Any
) -> None:
    """Refuse an UPDATE that changes what values are bound to and does not bring every one of them, sealed anew.

    A flush brings them. Bulk updates, of the ORM and of Core alike, would leave values that open nowhere; and so would
    an INSERT that updates the row it collides with.
    """
    if isinstance(statement, Update):
        changed, parameters = statement._values, (params, *multiparams)
    elif isinstance(statement, Insert) and statement._post_values_clause is not None:
        changed, parameters = getattr(statement._post_values_clause, "update_values_to_set", None), ()
    else:
        return
    table = statement.table.element if isinstance(statement.table, Alias) else statement.table
    if not isinstance(table, Table):
        return
    columns = [_describe(table, column, column.info[_INFO]) for column in table.columns if _INFO in column.info]
    if not columns:
        return
    updated = {getattr(column, "key", column) for column in changed or ()}
    updated.update(key for row in parameters for key in row)
    moved = {column.key for entry in columns for column in (entry.owner, entry.row) if column is not None} & updated
    if moved and not updated.issuperset(entry.storage.key for entry in columns):
        raise InvalidRequestError(
            f"cannot bulk-update {', '.join(sorted(moved))} of {table.name}: encrypted values are bound to "
            "it; change it on loaded objects, whose flush seals them anew"
        )
