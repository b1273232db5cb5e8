"""The audit trail: one table that is only added to, and seals that show whether it was altered."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcTimestamp, now, primary_key
from app.encryption import encrypted
from app.extensions import Model
from app.tenancy import TenantOwned, tenant_key


class AuditEvent(TenantOwned, Model):
    """Who did what, to which object, from where, and what came of it.

    tenant_id: None for what is not about one tenant, which no tenant sees.
    action: ``<noun>.<verb in the past>``. object_id: of that noun. outcome: ``success`` or ``refused``.
    actor_type: ``user``, ``api_key``, ``phone_system``, ``operator`` or ``anonymous``; actor_name: as it was then.
    count: how many times it happened, where that is added up by the hour; see :mod:`app.audit.tally`.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        tenant_key(),
        CheckConstraint("outcome IN ('success', 'refused')", name="outcome"),
        CheckConstraint("count > 0", name="count"),
        Index(  # for the last of a phone system's deliveries that was refused
            None,
            "tenant_id",
            "object_id",
            "id",
            postgresql_where=text("action IN ('delivery.refused', 'delivery.unreadable')"),
            sqlite_where=text("action IN ('delivery.refused', 'delivery.unreadable')"),
        ),
    )

    # The one table of tenants' own rows that has some of nobody's as well.
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenants.id"))  # type: ignore[assignment]
    occurred_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    action: Mapped[str]
    outcome: Mapped[str]
    actor_type: Mapped[str]
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    object_id: Mapped[UUID | None]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    count: Mapped[int] = mapped_column(default=1)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)


class AuditSeal(Model):
    """What was in the audit trail up to some event, in a form that only who has the master key can write; see
    :mod:`app.audit.seals`. Seals are numbered without a gap."""

    __tablename__ = "audit_seals"
    __table_args__ = (Index(None, "number", unique=True),)

    id: Mapped[UUID] = primary_key()
    number: Mapped[int]
    sealed_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    content = encrypted("audit_seals.content", owner=None, structured=True)
