"""What comes in and goes out of payment accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.integrations.schemas import Changes, Written
from app.schemas import Input, PlainText, Secret, VersionedRecord, not_required

Provider = Literal["paypal"]
Mode = Literal["sandbox", "live"]


class PaymentAccountIn(Input):
    provider: Provider
    mode: Mode
    client_id: PlainText | None = None
    client_secret: Secret | None = Field(
        None, description="Removed by changing the provider or the mode, unless it is sent again"
    )
    webhook_id: PlainText | None = None


class PaymentAccountChanges(Changes, PaymentAccountIn):
    provider: Provider = not_required()
    mode: Mode = not_required()


class PaymentAccountOut(VersionedRecord):
    provider: str
    mode: str
    client_id: str | None
    client_secret_set: bool
    client_secret_changed_at: datetime | None
    webhook_id: str | None


class PaymentAccountWritten(PaymentAccountOut, Written):
    pass
