"""What comes in and goes out of API credentials."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.integrations.schemas import Changes, Written
from app.schemas import ChangedBy, Input, PlainText, Secret, UtcTime, VersionedRecord, not_required


class ApiCredentialIn(Input):
    name: PlainText = Field(examples=["Transcription"], description="For people to tell it from others")
    provider: PlainText = Field(examples=["deepgram"], description="Whose API it is")
    secret: Secret | None = Field(
        None, description="The API key. Removed by changing the provider, unless it is sent again"
    )
    expires_at: UtcTime | None = Field(None, description="When the provider stops accepting it")


class ApiCredentialChanges(Changes, ApiCredentialIn):
    name: PlainText = not_required()
    provider: PlainText = not_required()


class ApiCredentialOut(VersionedRecord):
    name: str = Field(examples=["Transcription"])
    provider: str = Field(examples=["deepgram"], description="Whose API it is")
    secret_set: bool = Field(description="Whether there is a secret; it is never shown")
    secret_changed_at: datetime | None
    secret_changed_by: ChangedBy
    expires_at: datetime | None = Field(description="When the provider stops accepting it")


class ApiCredentialWritten(ApiCredentialOut, Written):
    pass
