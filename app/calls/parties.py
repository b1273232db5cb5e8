"""What a call record's numbers and parties are in the columns of :class:`~app.calls.models.Call`, and filling those of
records that are stored already."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from app.calls.models import Call
from app.calls.numbers import e164
from app.phone_systems.vendors import CallRecord
from app.phone_systems.vendors.parties import by_asterisk, by_numbers
from app.tenants.service import countries_of

BATCH_ROWS: Final = 1000
COLUMNS: Final = ("direction", "extension", "source_e164", "destination_e164")


def describe(record: CallRecord, country: str | None) -> dict[str, Any]:
    """The values of ``COLUMNS`` for a record. What its vendor's parser did not find is read from the numbers.

    country: the tenant's, ISO 3166-1 alpha-2; None if it is not known.
    """
    return _columns(record, record.direction, record.extension, country)


class Described(NamedTuple):
    """How many records were read, and how many of them changed."""

    read: int
    changed: int


def describe_again(session: Session, tenant_id: UUID | None = None) -> Described:
    """Fill ``COLUMNS`` of the records that are stored, of one tenant or of all: directions and extensions where there
    are none yet, the numbers in E.164 by the tenant's country as it is now.

    A thousand records at a time are read, and committed if they changed; so it can be broken off at any time, and run
    again beside everything else. To be called in a scope that sees all of the tenants.
    """
    read = changed = 0
    for tenant, country in countries_of(session, tenant_id):
        last = UUID(int=0)
        while True:
            rows = session.execute(_BATCH, {"tenant_id": tenant, "last_id": last}).all()
            changes = [change for row in rows if (change := _change(row, country))]
            if changes:
                session.connection().execute(_UPDATE, changes)
            session.commit()
            read, changed = read + len(rows), changed + len(changes)
            if len(rows) < BATCH_ROWS:
                break
            last = rows[-1].id
    return Described(read, changed)


def _change(row: Any, country: str | None) -> dict[str, Any] | None:
    """The parameters of ``_UPDATE``; None for a record that is described as it would be now."""
    direction, extension = row.direction, row.extension
    if direction is None:  # a record of when all vendors had Asterisk's fields
        direction, extension = by_asterisk(row.source, row.destination, row.details)
    values = _columns(row, direction, extension, country)
    if all(getattr(row, name) == value for name, value in values.items()):
        return None
    return {"call_id": row.id} | values


def _columns(record: Any, direction: str | None, extension: str | None, country: str | None) -> dict[str, Any]:
    """What is None is read from the numbers of the record, or row."""
    if direction is None or extension is None:
        found = by_numbers(record.source, record.destination, direction)
        direction, extension = found.direction, extension or found.extension
    values = direction, extension, e164(record.source, country), e164(record.destination, country)
    return dict(zip(COLUMNS, values, strict=True))


_BATCH: Final = (
    select(Call.id, Call.source, Call.destination, Call.details, *(getattr(Call, name) for name in COLUMNS))
    .where(Call.tenant_id == bindparam("tenant_id"), Call.id > bindparam("last_id"))
    .order_by(Call.id)
    .limit(BATCH_ROWS)
)
_CALLS: Final = Call.metadata.tables["calls"]
_UPDATE: Final = (
    update(_CALLS).where(_CALLS.c.id == bindparam("call_id")).values({name: bindparam(name) for name in COLUMNS})
)
