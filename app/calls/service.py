"""Call records."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.calls.models import Call


def detach_phone_system(session: Session, tenant_id: UUID, phone_system_id: UUID) -> None:
    """Let the records of a phone system outlive it. Not committed here."""
    records = update(Call).where(Call.tenant_id == tenant_id, Call.phone_system_id == phone_system_id)
    session.execute(records.values(phone_system_id=None))
