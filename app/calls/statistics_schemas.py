"""What comes in and goes out of figures about calls. Each figure is defined in docs/metrics.md."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from app.calls.volume import Step
from app.schemas import Output, not_required

# Beyond these, the days before or the offset of a time zone may lie outside of the calendar.
FIRST: Final = date(1970, 1, 1)
LAST: Final = date(2199, 12, 31)
Day = Annotated[date, Field(ge=FIRST, le=LAST)]


class Days(BaseModel):
    """The query parameters that say which days are asked for, of the tenant's time zone."""

    model_config = ConfigDict(extra="forbid")

    first_day: Day = not_required(examples=["2026-11-16"], description="Six days before the last one if it is left out")
    last_day: Day = not_required(examples=["2026-11-22"], description="Included; today if it is left out")


class VolumeQuery(Days):
    by: Step = Field("day", description="How long a slot is")


class DaysAndLimit(Days):
    limit: int = Field(10, ge=1, le=200, description="At most so many numbers")


class Counted(Output):
    calls: int = Field(examples=[12], description="That began then, however many legs each has")
    answered: int = Field(examples=[9], description="Of which at least one leg was answered")
    missed: int = Field(examples=[3], description="All others")


class FiguresOut(Counted):
    since: datetime = Field(description="When the period begins")
    until: datetime = Field(description="When it ends, or now")
    answered_share: float | None = Field(examples=[0.75], description="From 0 to 1; null without calls")
    unique_callers: int = Field(examples=[8], description="Different numbers that called")
    talk_seconds: int = Field(examples=[1800], description="Of all answered calls together")
    inbound: int = Field(examples=[7], description="Calls that came in")
    outbound: int = Field(examples=[4], description="Calls that went out")
    internal: int = Field(examples=[1], description="Calls from one extension to another")
    average_talk_seconds: float | None = Field(
        examples=[200.0], description="Of answered calls; null if there are none"
    )


class DaysOut(Output):
    time_zone: str = Field(examples=["Europe/Berlin"], description="The tenant's, of which the days are")
    first_day: date = Field(examples=["2026-11-16"], description="Included")
    last_day: date = Field(examples=["2026-11-22"], description="Included")


class SummaryOut(DaysOut):
    present: FiguresOut = Field(description="Of the days that were asked for, as far as they are over")
    before: FiguresOut = Field(description="Of as many days before; up to the same time of day if today is the last")


class SlotOut(Counted):
    start: datetime = Field(examples=["2026-11-16T00:00:00+01:00"], description="When it begins, local")


class VolumeOut(DaysOut):
    by: Step = Field(description="How long a slot is")
    items: list[SlotOut]


class HourOfWeekOut(Counted):
    weekday: int = Field(examples=[1], ge=1, le=7, description="1 is Monday, 7 is Sunday")
    hour: int = Field(examples=[9], ge=0, le=23, description="By the clock on the wall")


class HoursOfWeekOut(DaysOut):
    items: list[HourOfWeekOut]


class CallerOut(Output):
    number: str = Field(examples=["+442071234567"], description="As the phone system writes it")
    calls: int = Field(examples=[5], description="That came from the number")
    answered: int = Field(examples=[4], description="Of these")
    talk_seconds: int = Field(examples=[640], description="Of the answered ones together")
    last_at: datetime = Field(description="When the last of them began")


class TopCallersOut(DaysOut):
    items: list[CallerOut]


class WaitingOut(Output):
    number: str = Field(examples=["+442071234567"], description="As the phone system writes it")
    missed: int = Field(examples=[2], description="How many of its calls were missed")
    first_missed_at: datetime = Field(description="When the first of them began")
    last_missed_at: datetime = Field(description="When the last of them began")


class MissedOut(DaysOut):
    items: list[WaitingOut]
