"""Users, and their memberships of tenants."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Timestamps, primary_key
from app.extensions import Model
from app.tenancy import TenantOwned, tenant_key
from app.tenants.models import Tenant


class Role(StrEnum):
    """What a member may do in a tenant: members see calls, admins keep integrations too, owners do everything."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class User(Timestamps, Model):
    """A person who signs in. ``email`` is lower-case; ``password_hash`` is Argon2id in PHC format."""

    __tablename__ = "users"

    id: Mapped[UUID] = primary_key()
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    memberships: Mapped[list[Membership]] = relationship(back_populates="user")


class Membership(TenantOwned, Timestamps, Model):
    """A user's role in one tenant."""

    __tablename__ = "memberships"
    __table_args__ = (
        tenant_key(),
        UniqueConstraint("user_id", "tenant_id"),
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str]
    user: Mapped[User] = relationship(back_populates="memberships")
    tenant: Mapped[Tenant] = relationship()
