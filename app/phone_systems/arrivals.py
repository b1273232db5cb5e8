"""What has come from a phone system since a moment: for whoever has just set it up and waits."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.calls.models import Call


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
