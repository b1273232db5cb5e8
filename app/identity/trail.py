"""An account's changes in the audit trail: events of each tenant that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.identity.models import Membership
from app.tenancy import system_scope


def record_for_each_tenant(
    session: Session, action: str, user_id: UUID, details: Mapping[str, Any] | None = None
) -> None:
    """Record a change of the account for each of its tenants, or, where it has none, for nobody in particular. Not
    committed."""
    with system_scope():  # they may be several, and a link in a mail is of none
        found = session.scalars(select(Membership.tenant_id).where(Membership.user_id == user_id))
        tenant_ids: list[UUID | None] = [*found]
        for tenant_id in tenant_ids or [None]:
            audit.record(session, action, object_id=user_id, tenant_id=tenant_id, details=details)
        session.flush()
