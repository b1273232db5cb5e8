"""Call records: stored once each, however often they are delivered, and listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.calls.models import Call
from app.errors import Unavailable
from app.pagination import Listing, PageQuery
from app.phone_systems.vendors import CallRecord


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
    demonstration: bool = False,
) -> Stored:
    """Store what the phone system delivered and commit. A record that is there already is left as it is, also when
    the same delivery arrives many times at once: the database decides which of them is the first."""
    rows: dict[str, dict[str, Any]] = {
        record.record_key: {
            **{name: getattr(record, name) for name in _ATTRIBUTES},
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


def list_calls(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[Call], str | None]:
    """A page of the tenant's records, newest first, and the cursor of the next page or None."""
    return _CALLS.fetch(session, page, tenant_id=tenant_id)


_CALLS: Final = Listing(select(Call).where(Call.tenant_id == bindparam("tenant_id")), Call.started_at, Call.id)


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
