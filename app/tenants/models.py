"""Tenants: the companies that use the service; those that want to become one, and whom they want on their team."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Timestamps, UtcTimestamp, Versioned, primary_key
from app.extensions import Model
from app.tenancy import TenantOwned, belongs_to, tenant_key

if TYPE_CHECKING:
    from app.identity.models import Membership


class Tenant(Timestamps, Versioned, Model):
    """A company. ``subdomain`` is a lower-case DNS label; ``time_zone`` is an IANA name; ``country``, ISO 3166-1
    alpha-2, is where its numbers are dialled, None if that is not known. Nobody can sign in to one that was suspended
    at ``suspended_at``, and its phone systems cannot deliver. Call records are kept for ``call_retention_days`` days;
    None is for ever."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = primary_key()
    name: Mapped[str]
    subdomain: Mapped[str] = mapped_column(unique=True)
    time_zone: Mapped[str] = mapped_column(default="UTC")
    country: Mapped[str | None]
    suspended_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    call_retention_days: Mapped[int | None]


class SignUp(Model):
    """A tenant that somebody wants, until the owner of the e-mail address has confirmed it with the token of which
    ``token_hash`` is the SHA-256. It takes nothing yet, neither the subdomain nor the address."""

    __tablename__ = "sign_ups"

    id: Mapped[UUID] = primary_key()
    email: Mapped[str] = mapped_column(index=True)
    tenant_name: Mapped[str]
    subdomain: Mapped[str]
    time_zone: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime] = mapped_column(UtcTimestamp())


class Invitation(TenantOwned, Timestamps, Model):
    """A role in a tenant for the owner of an e-mail address, who has the token of which ``token_hash`` is the SHA-256.
    It goes when the membership of who made it does."""

    __tablename__ = "invitations"
    __table_args__ = (
        tenant_key(),
        UniqueConstraint("tenant_id", "email"),
        belongs_to("memberships", "invited_by_id", ondelete="CASCADE"),
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
    )

    email: Mapped[str]
    role: Mapped[str]
    invited_by_id: Mapped[UUID]
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    invited_by: Mapped[Membership] = relationship()
