"""``encrypted()``: a model attribute whose value is sealed in the database and readable text in Python.

    class PhoneSystem(TenantOwned, Model):
        password = encrypted("phone_systems.password")

Reading decrypts, and only then; assigning seals when the row is flushed, because only then are its owner and its
primary key certain. Until the flush the plaintext waits, redacted, in the mapped storage attribute itself: what is kept
anywhere else is lost by ``merge()`` and the bulk operations, and survives a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, cast
from uuid import UUID

from flask import current_app
from sqlalchemy import ClauseElement, Uuid, event, inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.hybrid import Comparator, hybrid_property
from sqlalchemy.orm import Mapper, attributes
from sqlalchemy.sql import operators

from app.encryption import sealed
from app.encryption.keyring import PLATFORM, Context
from app.encryption.storage import storage_columns

if TYPE_CHECKING:
    from app.encryption import AppEncryption


def encrypted(
    name: str, *, owner: str | None = "tenant_id", row: str = "id", structured: bool = False
) -> hybrid_property[Any]:
    """Declare an encrypted attribute.

    name: its public name, ``<table>.<column>`` at the time it is introduced. It is part of what every value is bound
        to, so it stays when the table or the column is renamed.
    owner: the model's column with the id of the tenant or user whose secret this is; None for the platform's own.
    row: the model's column with the row id; for a history table the one with the original row's id.
    structured: hold what JSON can hold, instead of text.
    """
    return EncryptedAttribute(name, owner, row, structured)


class Pending:
    """A plaintext that waits to be sealed. Shows, copies and pickles nothing."""

    __slots__ = ("plaintext",)

    def __init__(self, plaintext: bytes) -> None:
        self.plaintext = plaintext

    def __repr__(self) -> str:
        return "<secret, not sealed yet>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret that is not sealed yet cannot be copied or pickled")


class EncryptedAttribute(hybrid_property[Any]):
    """The hybrid property behind :func:`encrypted`. Adds its storage columns to the class it is declared in."""

    def __init__(self, name: str, owner: str | None, row: str, structured: bool) -> None:
        if "|" in name:
            raise ValueError("the name of an encrypted attribute cannot contain '|'")
        super().__init__(self._read, self._assign, custom_comparator=cast(Any, lambda cls: NullTestsOnly(cls, self)))
        self.name, self.owner, self.row, self.structured = name, owner, row, structured

    def __set_name__(self, model: type, attribute: str) -> None:
        self.__name__ = self.attribute = attribute
        self.storage = f"{attribute}_encrypted"
        for column in storage_columns(attribute, self.name, self.owner, self.row):
            setattr(model, column.name, column)
        # whether there is a value, for whoever must not read it
        setattr(model, f"{attribute}_set", property(lambda instance: getattr(instance, self.storage) is not None))

    def _read(self, instance: Any) -> Any:
        """The plaintext, or None. Raises the :class:`~app.encryption.sealed.EncryptionError` that fits."""
        value = getattr(instance, self.storage)
        if value is None:
            return None
        plaintext = value.plaintext if isinstance(value, Pending) else self._open(instance, value)
        return json.loads(plaintext) if self.structured else plaintext.decode()

    def _assign(self, instance: Any, value: Any) -> None:
        setattr(instance, self.storage, None if value is None else Pending(self._encode(value)))

    def _encode(self, value: Any) -> bytes:
        if self.structured:
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            except (TypeError, ValueError):  # whose text may quote the value
                raise ValueError(f"{self.name} holds what JSON can hold, and nothing else") from None
        elif isinstance(value, str):
            text = value
        else:
            raise TypeError(f"{self.name} holds text, not {type(value).__name__}")
        if any("\ud800" <= character <= "\udfff" for character in text):  # the encoder's error would hold the text
            raise ValueError(f"{self.name} cannot hold half a surrogate pair")
        return text.encode()

    def seal_for_flush(self, instance: Any) -> None:
        """Leave in the storage attribute what may be written: called for every row that is about to be."""
        value = instance.__dict__.get(self.storage)
        history = attributes.get_history(instance, self.storage)
        changed = history.has_changes() and (value is not None or any(history.deleted))
        if isinstance(value, Pending):
            setattr(instance, self.storage, self._seal(instance, value.plaintext))
        elif changed and value is not None:
            _encryption().open(self._context(instance), value)  # a sealed value set by hand must belong here
        elif self._moved(instance):
            value = getattr(instance, self.storage)
            if value is None:
                setattr(instance, self.storage, None)  # where it never was set, there is nothing to flag
                attributes.flag_modified(instance, self.storage)  # see _refuse_moves_without_values
            else:
                setattr(instance, self.storage, self._seal(instance, self._open(instance, value)))
        if changed:
            setattr(instance, f"{self.attribute}_changed_at", datetime.now(UTC))
            self._note_unused(instance)

    def _note_unused(self, instance: Any) -> None:
        """Nobody has used the new value yet. Written also where nobody had used the old one when the row was read: it
        may have been used since."""
        used_at = f"{self.attribute}_used_at"
        if used_at in inspect(instance).mapper.columns:
            setattr(instance, used_at, None)
            attributes.flag_modified(instance, used_at)

    def _seal(self, instance: Any, plaintext: bytes) -> str:
        return sealed.seal(_encryption().keyring.primary, self._context(instance), plaintext)

    def _open(self, instance: Any, value: str) -> bytes:
        return _encryption().open(self._context(instance, committed=True), value)

    def _context(self, instance: Any, committed: bool = False) -> Context:
        """What binds the value: of the row as it will be written, or as it is in the database."""

        def text_of(column: str) -> str:
            text = _id_text(instance, column, committed)
            if text is None:
                raise InvalidRequestError(f"{self.name} cannot be sealed while {column} is not set")
            return text

        return Context(self.name, PLATFORM if self.owner is None else text_of(self.owner), text_of(self.row))

    def _moved(self, instance: Any) -> bool:
        return any(
            _id_text(instance, column) != _id_text(instance, column, committed=True)
            for column in (self.owner, self.row)
            if column
        )


class NullTestsOnly(Comparator[Any]):
    """The attribute in SQL. Every sealed value is different, so nothing but ``IS NULL`` can be asked of it."""

    def __init__(self, model: type, attribute: EncryptedAttribute) -> None:
        self.model, self.attribute = model, attribute

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        if op in (operators.is_, operators.is_not) and other[0] is None:
            return op(getattr(self.model, self.attribute.storage), None)
        return self._refuse("select, order or compare")

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> NoReturn:
        self._refuse("compare")

    def __clause_element__(self) -> NoReturn:
        self._refuse("select, order or compare")

    def _bulk_update_tuples(self, value: Any) -> Sequence[tuple[Any, Any]]:
        self._refuse("bulk-update")

    def _bulk_dml_setter(self, key: str) -> Callable[[MutableMapping[str, Any]], None]:
        def refuse(mapping: MutableMapping[str, Any]) -> None:
            self._refuse("bulk-insert or bulk-update")

        return refuse

    def _refuse(self, what: str) -> NoReturn:
        raise InvalidRequestError(
            f"cannot {what} the encrypted attribute {self.attribute.name}: in SQL only .is_(None) and .is_not(None) "
            "make sense, and values are set on loaded objects, so that they are sealed when the row is flushed"
        )


def _id_text(instance: Any, column: str, committed: bool = False) -> str | None:
    """An owner's or row's id as it stands in a context, however it was assigned; None while it is not set."""
    value = _committed(instance, column) if committed else getattr(instance, column)
    if value is None:
        return None
    if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
        raise InvalidRequestError(f"{column} binds encrypted values: the database cannot compute it, set it to a value")
    if isinstance(inspect(instance).mapper.columns[column].type, Uuid):
        return str(UUID(str(value)))
    text = str(value)
    if "|" in text:
        raise ValueError("an id in a context cannot contain '|'")
    return text


def _encryption() -> AppEncryption:
    """The current application's: no keyring is bound at import."""
    return cast("AppEncryption", current_app.extensions["encryption"])


def _committed(instance: Any, column: str) -> Any:
    """The value of ``column`` that the database has, or will have for a row that is new."""
    history = attributes.get_history(instance, column)
    return history.deleted[0] if history.deleted else getattr(instance, column)


def _encrypted_attributes(model: type) -> Iterator[EncryptedAttribute]:
    for cls in model.__mro__:
        for value in vars(cls).values():
            if isinstance(value, EncryptedAttribute):
                yield value


@event.listens_for(Mapper, "mapper_configured")
def _watch(mapper: Mapper[Any], model: type) -> None:
    """Make a newly mapped class seal its encrypted attributes when its rows are flushed."""
    found = tuple(_encrypted_attributes(model))
    if not found:
        return
    # The value that an owner had is needed to open what was sealed for it: load it before it is overwritten. And
    # removing a secret is a change only where there was one.
    bound = {column for attribute in found for column in (attribute.owner, attribute.row, attribute.storage) if column}
    for column in bound:
        cast(Any, getattr(model, column)).impl.active_history = True

    def before_update(mapper: Mapper[Any], connection: Any, instance: Any) -> None:
        for attribute in found:
            attribute.seal_for_flush(instance)

    def before_insert(mapper: Mapper[Any], connection: Any, instance: Any) -> None:
        _assign_primary_key(mapper, instance)
        before_update(mapper, connection, instance)

    event.listen(model, "before_insert", before_insert)
    event.listen(model, "before_update", before_update)


def _assign_primary_key(mapper: Mapper[Any], instance: Any) -> None:
    """Fill in the primary key from its Python default now: a value cannot be sealed for a row without an id."""
    for column in mapper.primary_key:
        key = mapper.get_property_by_column(column).key
        if getattr(instance, key) is None and column.default is not None and column.default.is_callable:
            setattr(instance, key, cast(Any, column.default).arg(None))
