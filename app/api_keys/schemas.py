"""What comes in and goes out of API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, Self
from uuid import UUID

from pydantic import Field

from app.api_keys.models import ApiKey
from app.schemas import Input, Output, PlainText, UtcTime

KeyRole = Literal["admin", "member"]

_WHAT_FOR: Final = "What it may do: members see calls; admins keep the integrations and see the audit trail, too"


class ApiKeyIn(Input):
    name: PlainText = Field(examples=["Wallboard"], description="For people to tell it from others")
    role: KeyRole = Field(description=_WHAT_FOR)
    expires_at: UtcTime | None = Field(
        None, examples=["2030-01-31T12:00:00Z"], description="When it stops being accepted; never if not given"
    )


class ApiKeyOut(Output):
    id: UUID
    name: str = Field(examples=["Wallboard"])
    role: KeyRole = Field(description=_WHAT_FOR)
    prefix: str = Field(examples=["k7qm2vxazt5e"], description="The middle part of the key, which is no secret")
    created_at: datetime
    created_by: str = Field(examples=["ada@acme.example"], description="The e-mail address of who made it, as it was")
    expires_at: datetime | None = Field(description="When it stops being accepted")
    last_used_at: datetime | None = Field(description="When it was last used, to the minute; null for never")


class ApiKeyCreated(ApiKeyOut):
    key: str = Field(examples=["audiapro_k7qm2vxazt5e_…"], description="For `Authorization: Bearer …`. Shown this once")

    @classmethod
    def created(cls, row: ApiKey, text: str) -> Self:
        return cls(**ApiKeyOut.model_validate(row).model_dump(), key=text)
