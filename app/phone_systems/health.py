"""How phone systems are: when each last delivered, and what of it was last refused. Found by index, however many calls
and events there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.audit import tally
from app.audit.models import AuditEvent
from app.calls.models import Call
from app.errors import NotFound
from app.phone_systems.models import PhoneSystem

REFUSED: Final = "delivery.refused"
UNREADABLE: Final = "delivery.unreadable"
REFUSALS: Final = (REFUSED, UNREADABLE)
LATELY: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Refusal:
    """Deliveries that were refused for one cause, which the audit trail has as one event.

    address: of the network that they came from. unreadable: what was wrong with what they brought, such as
    ``uniqueid is missing``; None where the credentials were wrong.
    """

    first_at: datetime
    last_at: datetime
    address: str | None
    count: int
    unreadable: str | None = None


@dataclass(frozen=True)
class Health:
    """last_delivery_at: when the newest record came that a PBX delivered. None for never.

    last_refusal: as the audit trail has it; see :func:`catch_up`.
    """

    last_delivery_at: datetime | None
    last_refusal: Refusal | None

    def refusal_after(self, moment: datetime | None) -> Refusal | None:
        """The last refusal, if it came later than that; None is before everything."""
        refusal = self.last_refusal
        return refusal if refusal is not None and (moment is None or moment < refusal.last_at) else None


@dataclass(frozen=True)
class Counts:
    """What came since a moment. records: that were stored. refused, unreadable: deliveries with wrong credentials, and
    those that were not understood, as the audit trail counts them: up to an hour later than they came, unless
    :func:`catch_up` was called where they did."""

    records: int
    refused: int
    unreadable: int


def catch_up(tenant_id: UUID) -> None:
    """Before somebody of the tenant is told how its phone systems are: have the refusals in the audit trail that this
    process has only counted. To be called first: what the session holds is rolled back."""
    tally.store_of(tenant_id, REFUSALS)


def get(session: Session, tenant_id: UUID, phone_system_id: UUID) -> Health:
    """How one phone system is. Raises :class:`~app.errors.NotFound`."""
    try:
        return health_of(session, tenant_id, [phone_system_id])[phone_system_id]
    except KeyError:
        raise NotFound("There is nothing here under this id.") from None


def health_of(session: Session, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Health]:
    """How each of these phone systems of the tenant is, in two statements whatever their number. Ids that are not the
    tenant's are left out."""
    found = session.execute(_NEWEST, {"tenant_id": tenant_id, "ids": list(ids)}).all()
    refused = {row.refusal_id for row in found} - {None}
    events = session.scalars(_EVENTS, {"tenant_id": tenant_id, "ids": list(refused)}) if refused else ()
    refusals = {event.id: _refusal(event) for event in events}
    return {row.id: Health(row.last_delivery_at, refusals.get(row.refusal_id)) for row in found}


def counts(session: Session, tenant_id: UUID, phone_system_id: UUID, since: datetime) -> Counts:
    """What came from a phone system of the tenant since that moment, in two statements; nothing from one that is not
    the tenant's."""
    stored = select(func.count()).where(
        Call.tenant_id == tenant_id,
        Call.phone_system_id == phone_system_id,
        Call.received_at >= since,
        ~Call.demonstration,
    )
    first_id = UUID(int=int(since.timestamp() * 1000) << 80)  # an event's id begins with its milliseconds
    counted = (
        select(AuditEvent.action, func.sum(AuditEvent.count))
        .where(
            AuditEvent.tenant_id == tenant_id,
            AuditEvent.object_id == phone_system_id,
            AuditEvent.id >= first_id,
            AuditEvent.action.in_(bindparam("actions", REFUSALS, expanding=True, literal_execute=True)),
        )
        .group_by(AuditEvent.action)
    )
    found = {action: int(count) for action, count in session.execute(counted)}
    return Counts(session.scalar(stored) or 0, found.get(REFUSED, 0), found.get(UNREADABLE, 0))


def _refusal(event: AuditEvent) -> Refusal:
    first, last = (event.details.get(name) for name in ("first", "last"))
    return Refusal(
        datetime.fromisoformat(first) if first else event.occurred_at,
        datetime.fromisoformat(last) if last else event.occurred_at,
        event.address,
        event.count,
        event.details.get("reason", "") if event.action == UNREADABLE else None,
    )


def _newest() -> Select[UUID, datetime, UUID]:
    """Of each phone system the newest of either, by the index that is there for it. Both are partial, so what they are
    limited to stands in the statement itself: a parameter might be anything."""
    delivered = (
        select(Call.received_at)
        .where(
            Call.tenant_id == PhoneSystem.tenant_id,
            Call.phone_system_id == PhoneSystem.id,
            ~Call.demonstration,
        )
        .order_by(Call.received_at.desc())
        .limit(1)
    )
    refused = (
        select(AuditEvent.id)
        .where(
            AuditEvent.tenant_id == PhoneSystem.tenant_id,
            AuditEvent.object_id == PhoneSystem.id,
            AuditEvent.action.in_(bindparam("actions", REFUSALS, expanding=True, literal_execute=True)),
        )
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    return select(
        PhoneSystem.id,
        delivered.scalar_subquery().label("last_delivery_at"),
        refused.scalar_subquery().label("refusal_id"),
    ).where(PhoneSystem.tenant_id == bindparam("tenant_id"), PhoneSystem.id.in_(bindparam("ids", expanding=True)))


_NEWEST: Final = _newest()
_EVENTS: Final = select(AuditEvent).where(
    AuditEvent.tenant_id == bindparam("tenant_id"), AuditEvent.id.in_(bindparam("ids", expanding=True))
)
