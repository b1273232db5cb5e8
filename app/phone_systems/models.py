"""Phone systems: a tenant's PBX, and the credentials in both directions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from app.database import UtcTimestamp, now
from app.encryption import encrypted
from app.extensions import Model
from app.integrations.models import Integration
from app.tenancy import TenantOwned, belongs_to, tenant_key
from app.tenants.models import Tenant


class PhoneSystem(Integration, Model):
    """A PBX. ``username`` and ``password`` sign us in to it at ``base_url``; with ``webhook_username`` and
    ``webhook_password`` it signs in to us. ``time_zone`` is an IANA name; None means the tenant's.

    webhook_password_used_at: when a delivery first used the webhook password that there is now; None: none has yet. No
    change of the row that people make, so neither ``version`` nor ``updated_at`` tells of it.
    previous_webhook_password: the one before it, which is accepted as well until ``grace_ends_at``, and removed by the
    next change of the row after that.
    """

    __tablename__ = "phone_systems"
    __table_args__ = (tenant_key(),)

    name: Mapped[str]
    vendor: Mapped[str]
    base_url: Mapped[str | None]
    username: Mapped[str | None]
    password = encrypted("phone_systems.password")
    password_changed_by: Mapped[str | None]
    webhook_username: Mapped[str | None]
    webhook_password = encrypted("phone_systems.webhook_password")
    webhook_password_changed_by: Mapped[str | None]
    webhook_password_used_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    previous_webhook_password = encrypted("phone_systems.previous_webhook_password")
    grace_ends_at: Mapped[datetime | None] = mapped_column("previous_webhook_password_expires_at", UtcTimestamp())
    time_zone: Mapped[str | None]
    tenant: Mapped[Tenant] = relationship()
    if TYPE_CHECKING:  # mapped below, where there is a column to refer to
        subdomain: Mapped[str]
        password_set: bool
        webhook_password_set: bool
        webhook_password_changed_at: datetime | None
        previous_webhook_password_set: bool

    @property
    def previous_webhook_password_expires_at(self) -> datetime | None:
        """Until when the previous webhook password is accepted; None if there is none, or it has expired."""
        is_valid = self.previous_webhook_password_set and self.grace_ends_at is not None and self.grace_ends_at > now()
        return self.grace_ends_at if is_valid else None

    @property
    def webhook_path(self) -> str:
        """Where the PBX delivers its call records."""
        return f"/hooks/{self.subdomain}/{self.id}/cdr"


# The tenant's, which is part of every answer: a column of the row costs less than an object beside it.
PhoneSystem.subdomain = column_property(
    select(Tenant.subdomain).where(Tenant.id == PhoneSystem.tenant_id).scalar_subquery()
)


class UnreadableDelivery(TenantOwned, Model):
    """What a phone system delivered after it had signed in, and was not understood; see
    :mod:`app.phone_systems.unreadable`. It goes with its phone system.

    content_type: as delivered, made printable; None if there was none. size: of the body in bytes; None where it was
    not read to its end, and did not state it, or states what cannot be. reason: the first thing that is wrong, in our
    words alone.
    content: all that holds what was delivered: ``body``, its beginning as printable text; ``cut``, whether there was
    more of it; and ``errors``, everything that is wrong, by the fields as they were delivered.
    """

    __tablename__ = "unreadable_deliveries"
    __table_args__ = (
        tenant_key(),
        belongs_to("phone_systems", "phone_system_id", ondelete="CASCADE"),
        Index(None, "tenant_id", "phone_system_id", "id"),
    )

    phone_system_id: Mapped[UUID]
    received_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    content_type: Mapped[str | None]
    size: Mapped[int | None]
    reason: Mapped[str]
    content = encrypted("unreadable_deliveries.content", structured=True)
    if TYPE_CHECKING:
        content_encrypted: Mapped[str]
