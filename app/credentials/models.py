"""API credentials: keys of third-party services that a tenant uses."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcTimestamp
from app.encryption import encrypted
from app.extensions import Model
from app.integrations.models import Integration
from app.tenancy import tenant_key


class ApiCredential(Integration, Model):
    """A third party's API key. ``expires_at`` is when the third party stops accepting it, where that is known."""

    __tablename__ = "api_credentials"
    __table_args__ = (tenant_key(),)

    name: Mapped[str]
    provider: Mapped[str]
    secret = encrypted("api_credentials.secret")
    secret_changed_by: Mapped[str | None]
    expires_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    if TYPE_CHECKING:
        secret_set: bool
