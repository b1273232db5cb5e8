"""Payment accounts: a tenant's account with a payment processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped

from app.encryption import encrypted
from app.extensions import Model
from app.integrations.models import Integration
from app.tenancy import tenant_key


class PaymentAccount(Integration, Model):
    """Credentials for one ``provider`` in one ``mode``: ``sandbox`` or ``live``."""

    __tablename__ = "payment_accounts"
    __table_args__ = (tenant_key(), CheckConstraint("mode IN ('sandbox', 'live')", name="mode"))

    provider: Mapped[str]
    mode: Mapped[str]
    client_id: Mapped[str | None]
    client_secret = encrypted("payment_accounts.client_secret")
    client_secret_changed_by: Mapped[str | None]
    webhook_id: Mapped[str | None]
    if TYPE_CHECKING:
        client_secret_set: bool
