"""API keys: what a tenant's own machines use this API with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcTimestamp, now
from app.encryption import encrypted
from app.extensions import Model
from app.tenancy import TenantOwned, tenant_key


class ApiKey(TenantOwned, Model):
    """A key with a ``role``, which belongs to the tenant and stays when whoever made it goes.

    prefix: the part by which it is found, and by which people tell it from others. token_hash: the SHA-256 of the whole
    key, in hex, sealed: together a keyed hash that is bound to tenant and row, and is rotated with everything else.
    created_by: the e-mail address of who made it, as it was then. last_used_at: to the minute.
    """

    __tablename__ = "api_keys"
    __table_args__ = (tenant_key(), CheckConstraint("role IN ('admin', 'member')", name="role"))

    name: Mapped[str]
    role: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    token_hash = encrypted("api_keys.token_hash")
    created_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
