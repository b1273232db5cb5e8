"""What goes out of call records."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.schemas import Output


class CallOut(Output):
    id: UUID
    phone_system_id: UUID | None = Field(description="None once the phone system was deleted")
    linked_id: str | None = Field(description="What the legs of one call have in common")
    source: str
    destination: str
    caller_name: str | None
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    duration_seconds: int
    talk_seconds: int = Field(description="From the answer to the end")
    disposition: Literal["answered", "no_answer", "busy", "failed", "voicemail", "other"]
    details: dict[str, str] = Field(description="What else the phone system delivered")
    demonstration: bool = Field(description="Made up, not delivered by a phone system")
    received_at: datetime
