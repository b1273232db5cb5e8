"""What has come from a phone system since a moment: for whoever has just set it up and waits.

Both are found by index, whatever else there is: records by the one for health, events by the time in their ids.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent
from app.calls.models import Call
from app.phone_systems.models import PhoneSystem

CLOCKS_DIFFER: Final = timedelta(minutes=1)  # at the most, of the machines that make ids


def newest_record(session: Session, tenant_id: UUID, phone_system_id: UUID, since: datetime) -> Call | None:
    """The newest call record that the phone system delivered at ``since`` or later; None if there is none."""
    newest = (
        select(Call)
        .where(
            Call.tenant_id == tenant_id,
            Call.phone_system_id == phone_system_id,
            Call.received_at >= since,
            ~Call.demonstration,
        )
        .order_by(Call.received_at.desc())
        .limit(1)
    )
    return session.scalars(newest).one_or_none()


def first_use_of_password(session: Session, phone_system: PhoneSystem) -> datetime | None:
    """When the phone system first delivered with its webhook password as it is now; None if it has not yet. The audit
    trail knows: see :mod:`app.calls.hooks`."""
    changed_at = phone_system.webhook_password_changed_at
    if changed_at is None:
        return None
    first = (
        select(AuditEvent.occurred_at)
        .where(
            AuditEvent.tenant_id == phone_system.tenant_id,
            AuditEvent.id >= _first_id(changed_at - CLOCKS_DIFFER),
            AuditEvent.object_id == phone_system.id,
            AuditEvent.action == "secret.used",
            AuditEvent.details["changed_at"].as_string() == changed_at.isoformat(),
        )
        .order_by(AuditEvent.id)
        .limit(1)
    )
    return session.scalars(first).one_or_none()


def _first_id(moment: datetime) -> UUID:
    """Not greater than any UUIDv7 made at ``moment`` or later: they begin with the time in milliseconds."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
