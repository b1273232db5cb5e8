"""Tenants: the companies that use the service."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from app.database import Timestamps, UtcTimestamp, primary_key
from app.extensions import Model


class Tenant(Timestamps, Model):
    """A company. ``subdomain`` is a lower-case DNS label; ``time_zone`` is an IANA name. Nobody can sign in to one that
    was suspended at ``suspended_at``, and its phone systems cannot deliver."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = primary_key()
    name: Mapped[str]
    subdomain: Mapped[str] = mapped_column(unique=True)
    time_zone: Mapped[str] = mapped_column(default="UTC")
    suspended_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
