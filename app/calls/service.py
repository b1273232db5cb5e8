"""Call records: stored once each, however often they are delivered; listed, and shown with the other legs of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.calls import legs
from app.calls.models import Call
from app.calls.numbers import e164
from app.calls.parties import describe
from app.errors import NotFound, Unavailable
from app.pagination import Listing, PageQuery
from app.phone_systems.vendors import CallRecord
from app.phone_systems.vendors.parties import UNKNOWN
from app.tenants.service import country_of

MOST_LEGS: Final = 50  # beside the record itself
LOOK_UP: Final = ""  # in place of a country


@dataclass(frozen=True, slots=True)
class Stored:
    """ids: of the records as they are in the database, in the order of the delivery. new: how many were not yet."""

    ids: list[UUID]
    new: int


def store_records(
    session: Session,
    tenant_id: UUID,
    phone_system_id: UUID,
    records: Sequence[CallRecord],
    *,
    country: str | None = LOOK_UP,
    demonstration: bool = False,
) -> Stored:
    """Store what the phone system delivered and commit. A record that is there already is left as it is, also when
    the same delivery arrives many times at once: the database decides which of them is the first.

    country: the tenant's, by which numbers are read, from who knows it already.
    """
    if country == LOOK_UP:
        country = country_of(session, tenant_id)
    rows: dict[str, dict[str, Any]] = {
        record.record_key: {
            **{name: getattr(record, name) for name in _ATTRIBUTES},
            **describe(record, country),
            "tenant_id": tenant_id,
            "phone_system_id": phone_system_id,
            "demonstration": demonstration,
        }
        for record in records
    }
    # In one order, so that two deliveries of several records cannot wait for each other.
    parameters = [rows[key] for key in sorted(rows)]
    connection = session.connection()  # no objects are made here: past the ORM it takes half the time
    inserted = connection.execute(_INSERT[connection.dialect.name], parameters)
    found: dict[str, UUID] = {row.record_key: row.id for row in inserted}
    new = len(found)
    if linked_ids := {linked for key in found if (linked := rows[key]["linked_id"]) is not None}:
        legs.tie(connection, tenant_id, phone_system_id, linked_ids)
    if missing := rows.keys() - found.keys():
        existing = select(Call.record_key, Call.id).where(
            Call.phone_system_id == phone_system_id, Call.record_key.in_(missing)
        )
        found.update((key, call_id) for key, call_id in connection.execute(existing))
    if len(found) < len(rows):
        session.rollback()
        raise Unavailable("The phone system was deleted while it delivered.")
    session.commit()
    return Stored([found[record.record_key] for record in records], new)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records are asked for: those that fit all that is not None.

    since, until: of the start of the leg, aware; ``since`` is included, ``until`` is not.
    number: a piece of the source or of the destination, in either case; none of its characters is a wildcard.
    number_e164: the same number in E.164, if it is a whole one: it finds records that have either. See :func:`chosen`.
    direction: ``unknown`` finds those that were not described yet, too. extension: the whole of it.
    """

    since: datetime | None = None
    until: datetime | None = None
    number: str | None = None
    number_e164: str | None = None
    direction: str | None = None
    extension: str | None = None
    disposition: str | None = None
    phone_system_id: UUID | None = None


def chosen(session: Session, tenant_id: UUID, given: Mapping[str, Any]) -> Filters:
    """The filters with these values, by their names. A number is looked for as it is, and, whichever way it was
    written, as what it is by the tenant's country."""
    number = given.get("number")
    number_e164 = e164(number, country_of(session, tenant_id)) if number else None
    return Filters(**given, number_e164=number_e164)


def list_calls(session: Session, tenant_id: UUID, page: PageQuery, filters: Filters) -> tuple[list[Call], str | None]:
    """A page of the tenant's records, newest first, and the cursor of the next page or None."""
    return listing(filters).fetch(session, page, tenant_id=tenant_id)


def listing(filters: Filters) -> Listing[Call]:
    """The records that fit, newest first; its one parameter is the ``tenant_id``."""
    return _listing(*_criteria(filters)) if filters != Filters() else _ALL


def _listing(*criteria: ColumnElement[bool]) -> Listing[Call]:
    own = Call.tenant_id == bindparam("tenant_id")
    return Listing(select(Call).where(own, *criteria), Call.started_at, Call.id)


_ALL: Final = _listing()  # what is asked most, put together once


def _criteria(filters: Filters) -> list[ColumnElement[bool]]:
    criteria: list[ColumnElement[bool]] = []
    if filters.since is not None:
        criteria.append(Call.started_at >= filters.since)
    if filters.until is not None:
        criteria.append(Call.started_at < filters.until)
    if filters.number is not None:
        found = [column.icontains(filters.number, autoescape=True) for column in (Call.source, Call.destination)]
        if filters.number_e164 is not None:
            found += [column == filters.number_e164 for column in (Call.source_e164, Call.destination_e164)]
        criteria.append(or_(*found))
    if filters.direction is not None:
        is_this = Call.direction == filters.direction
        criteria.append(or_(is_this, Call.direction.is_(None)) if filters.direction == UNKNOWN else is_this)
    if filters.extension is not None:
        criteria.append(Call.extension == filters.extension)
    if filters.disposition is not None:
        criteria.append(Call.disposition == filters.disposition)
    if filters.phone_system_id is not None:
        criteria.append(Call.phone_system_id == filters.phone_system_id)
    return criteria


def get_call(session: Session, tenant_id: UUID, call_id: UUID) -> tuple[Call, list[Call]]:
    """The record with that id, and the other legs of its call, oldest first: those of the same phone system with the
    same ``linked_id``, at most 50.

    Raises :class:`~app.errors.NotFound`, the same for an id that is unknown and for another tenant's.
    """
    call = session.scalars(select(Call).where(Call.tenant_id == tenant_id, Call.id == call_id)).one_or_none()
    if call is None:
        raise NotFound("There is nothing here under this id.")
    if call.linked_id is None:
        return call, []
    others = select(Call).where(
        Call.tenant_id == tenant_id,
        Call.phone_system_id == call.phone_system_id,  # IS NULL where the phone system was deleted
        Call.linked_id == call.linked_id,
        Call.id != call.id,
    )
    return call, list(session.scalars(others.order_by(Call.started_at, Call.id).limit(MOST_LEGS)))


def detach_phone_system(session: Session, tenant_id: UUID, phone_system_id: UUID) -> None:
    """Let the records of a phone system outlive it. Not committed here."""
    records = update(Call).where(Call.tenant_id == tenant_id, Call.phone_system_id == phone_system_id)
    session.execute(records.values(phone_system_id=None))


_ATTRIBUTES: Final = tuple(field.name for field in fields(CallRecord))


def _insert(dialect: Any) -> Any:
    """``INSERT … ON CONFLICT DO NOTHING RETURNING``, which both databases have, each in its own dialect."""
    key = ["phone_system_id", "record_key"]
    return (
        dialect.insert(Call.__table__)
        .on_conflict_do_nothing(index_elements=key)
        .returning(Call.__table__.c.record_key, Call.__table__.c.id)
    )


_INSERT: Final[dict[str, Any]] = {"postgresql": _insert(postgresql), "sqlite": _insert(sqlite)}
