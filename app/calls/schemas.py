"""What goes out of call records."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.schemas import Output


class CallOut(Output):
    id: UUID
    phone_system_id: UUID | None = Field(description="Null once the phone system was deleted")
    linked_id: str | None = Field(examples=["1795199530.0"], description="What the legs of one call have in common")
    source: str = Field(examples=["+442071234567"], description="Who called, as the phone system writes it")
    destination: str = Field(examples=["100"], description="Who was called, as the phone system writes it")
    caller_name: str | None = Field(examples=["Ada Lovelace"])
    started_at: datetime
    answered_at: datetime | None = Field(description="Null if nobody answered")
    ended_at: datetime | None
    duration_seconds: int = Field(examples=[60], description="From the start to the end")
    talk_seconds: int = Field(examples=[58], description="From the answer to the end")
    disposition: Literal["answered", "no_answer", "busy", "failed", "voicemail", "other"] = Field(
        description="How the call ended"
    )
    details: dict[str, str] = Field(
        examples=[{"channel": "PJSIP/trunk-00000001", "uniqueid": "1795199530.0"}],
        description="What else the phone system delivered",
    )
    demonstration: bool = Field(examples=[False], description="Made up, not delivered by a phone system")
    received_at: datetime = Field(description="When it was delivered first")
