"""Lists in pages: newest first, by keyset, so that a page costs the same wherever it is and nothing is seen twice."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Integer, Select, bindparam, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.encryption.storage import UtcTimestamp
from app.errors import Invalid
from app.schemas import not_required

T = TypeVar("T")
ItemT = TypeVar("ItemT", bound=BaseModel)


class PageQuery(BaseModel):
    """The query parameters of every list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="How many items at the most")
    cursor: str = not_required(description="`next` of the page before; the first page without it")


class Page(BaseModel, Generic[ItemT]):
    """The answer of every list."""

    items: list[ItemT]
    next: str | None = Field(
        description="The cursor of the next page; null on the last one", examples=["WyIwMTliNDk1ZS0wMDAwIl0"]
    )

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """The name in the OpenAPI document, where brackets are not allowed."""
        return f"{params[0].__name__}Page"


class Listing(Generic[T]):
    """A list in pages, in descending order of its keys. It can be made for one request; where that gives nothing but
    parameters, and is asked often, one listing for all of them saves more time than the database takes.

    statement: what selects the objects.
    keys: attributes of the objects, a time or an id each, that together tell every two objects apart.
    """

    def __init__(self, statement: Select[T], *keys: InstrumentedAttribute[Any]) -> None:
        self._keys = keys
        last = [bindparam(f"last_{key.key}", type_=key.type) for key in keys]
        self._first = statement.order_by(*(key.desc() for key in keys)).limit(bindparam("page_size", type_=Integer()))
        self._following = self._first.where(tuple_(*keys) < tuple_(*last))

    def fetch(self, session: Session, page: PageQuery, **parameters: Any) -> tuple[list[T], str | None]:
        """A page of the objects, and the cursor of the next page or None.

        parameters: of the statement. Raises :class:`~app.errors.Invalid` for a cursor that was not given out by
        this list.
        """
        last = None if page.cursor is None else _read_cursor(page.cursor, self._keys)
        items = self._read(session, page.limit + 1, last, parameters)
        if len(items) <= page.limit:
            return items, None
        items.pop()
        return items, _write_cursor(self._values_of(items[-1]))

    def fetch_after(self, session: Session, last: T | None, most: int, **parameters: Any) -> list[T]:
        """The ``most`` objects that follow ``last``, or the first ones; fewer where the list ends."""
        return self._read(session, most, None if last is None else self._values_of(last), parameters)

    def _read(
        self, session: Session, most: int, last: Sequence[datetime | UUID] | None, parameters: dict[str, Any]
    ) -> list[T]:
        statement, parameters = self._first, parameters | {"page_size": most}
        if last is not None:
            statement = self._following
            parameters |= {f"last_{key.key}": value for key, value in zip(self._keys, last, strict=True)}
        return list(session.scalars(statement, parameters))

    def _values_of(self, item: T) -> list[datetime | UUID]:
        return [getattr(item, key.key) for key in self._keys]


def _write_cursor(values: list[datetime | UUID]) -> str:
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[datetime | UUID]:
    try:
        texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        readers = [_read_time if isinstance(key.type, UtcTimestamp) else UUID for key in keys]
        return [read(text) for read, text in zip(readers, texts, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        message = "not a cursor of this list: use `next` as it was returned"
        raise Invalid("The cursor is not valid.", [{"field": "cursor", "message": message}]) from None


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a point in time needs a time zone")
    return moment.astimezone(UTC)
