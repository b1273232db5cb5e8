"""What comes in and goes out of payment accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.integrations.schemas import Changes, Written
from app.schemas import ChangedBy, Input, PlainText, Secret, VersionedRecord, not_required

Provider = Literal["paypal"]
Mode = Literal["sandbox", "live"]


class PaymentAccountIn(Input):
    provider: Provider
    mode: Mode = Field(description="`sandbox` moves no money")
    client_id: PlainText | None = Field(None, examples=["AYSq3RDGsmBLJE"], description="Of the provider's REST API")
    client_secret: Secret | None = Field(
        None,
        description="Of the provider's REST API. Removed by changing the provider or the mode, unless it is sent again",
    )
    webhook_id: PlainText | None = Field(None, examples=["8PT597110X687430L"], description="Of the provider's webhook")


class PaymentAccountChanges(Changes, PaymentAccountIn):
    provider: Provider = not_required()
    mode: Mode = not_required(description="`sandbox` moves no money")


class PaymentAccountOut(VersionedRecord):
    provider: str = Field(examples=["paypal"])
    mode: str = Field(examples=["sandbox"], description="`sandbox` moves no money, `live` does")
    client_id: str | None = Field(examples=["AYSq3RDGsmBLJE"], description="Of the provider's REST API")
    client_secret_set: bool = Field(description="Whether there is a client secret; it is never shown")
    client_secret_changed_at: datetime | None
    client_secret_changed_by: ChangedBy
    webhook_id: str | None = Field(examples=["8PT597110X687430L"], description="Of the provider's webhook")


class PaymentAccountWritten(PaymentAccountOut, Written):
    pass
