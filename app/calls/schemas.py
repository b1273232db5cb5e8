"""What comes in and goes out of call records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.pagination import PageQuery
from app.schemas import Output, PlainText, UtcTime, not_required

Disposition = Literal["answered", "no_answer", "busy", "failed", "voicemail", "other"]


Direction = Literal["inbound", "outbound", "internal", "unknown"]


class CallFilters(BaseModel):
    """The query parameters that say which call records are asked for."""

    model_config = ConfigDict(extra="forbid")

    since: UtcTime = not_required(description="Only legs that began at this time or later")
    until: UtcTime = not_required(description="Only legs that began before this time")
    number: PlainText = not_required(
        examples=["2071234567"],
        description="Only with this in source or destination; a whole number finds its other spellings, too",
    )
    direction: Direction = not_required(description="Only what went this way")
    extension: PlainText = not_required(examples=["100"], description="Only in which this extension took part")
    disposition: Disposition = not_required(description="Only what ended like this")
    phone_system_id: UUID = not_required(description="Only of this phone system")


class CallQuery(CallFilters, PageQuery):
    """The query parameters of the list of call records."""


class ExportQuery(CallFilters):
    """The query parameters of the export."""

    format: Literal["csv", "json"] = Field(
        "csv", description="For spreadsheets, or for programs: an array of what the list has"
    )


def _or_unknown(direction: str | None) -> str:
    return direction or "unknown"


class CallOut(Output):
    id: UUID
    phone_system_id: UUID | None = Field(description="Null once the phone system was deleted")
    linked_id: str | None = Field(examples=["1795199530.0"], description="What the legs of one call have in common")
    source: str = Field(examples=["+442071234567"], description="Who called, as the phone system writes it")
    destination: str = Field(examples=["100"], description="Who was called, as the phone system writes it")
    source_e164: str | None = Field(
        examples=["+442071234567"], description="The source with its country's code; null if it cannot be read"
    )
    destination_e164: str | None = Field(
        examples=["+442079460018"], description="The same of the destination; null for an extension"
    )
    direction: Annotated[Direction, BeforeValidator(_or_unknown)] = Field(
        description="`internal` is from one extension to another"
    )
    extension: str | None = Field(
        examples=["100"], description="The one called or, of an outbound leg, that called; null if it is not known"
    )
    caller_name: str | None = Field(examples=["Ada Lovelace"])
    started_at: datetime
    answered_at: datetime | None = Field(description="Null if nobody answered")
    ended_at: datetime | None
    duration_seconds: int = Field(examples=[60], description="From the start to the end")
    talk_seconds: int = Field(examples=[58], description="From the answer to the end")
    disposition: Disposition = Field(description="How the call ended")
    details: dict[str, str] = Field(
        examples=[{"channel": "PJSIP/trunk-00000001", "uniqueid": "1795199530.0"}],
        description="What else the phone system delivered",
    )
    demonstration: bool = Field(examples=[False], description="Made up, not delivered by a phone system")
    received_at: datetime = Field(description="When it was delivered first")


class CallDetail(CallOut):
    other_legs: list[CallOut] = Field(
        description="The other records of the same call: of the same phone system, with the same `linked_id`. Oldest "
        "first, at most 50"
    )
