"""How many calls began in each hour, day or week, and at which hours of the week: by the clock on the tenant's wall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, cast, func, select
from sqlalchemy.orm import Session

from app.calls.models import Call
from app.calls.period import Period
from app.calls.statistics import TALK, opening

Step = Literal["hour", "day", "week"]

# The offsets of all time zones are whole quarters of an hour, so that these add up to hours and days of any.
QUARTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Slot:
    """The calls that began in an hour, on a day or in a week (from Monday) that begins at ``start``, local with its
    offset from UTC. A period may begin or end within a week: only its days are counted."""

    start: datetime
    calls: int
    answered: int

    @property
    def missed(self) -> int:
        return self.calls - self.answered


@dataclass(frozen=True, slots=True)
class HourOfWeek:
    """The calls of all weeks that began in that hour. weekday: 1 is Monday, 7 is Sunday. hour: 0 to 23."""

    weekday: int
    hour: int
    calls: int
    answered: int

    @property
    def missed(self) -> int:
        return self.calls - self.answered


def volume(session: Session, tenant_id: UUID, period: Period, step: Step) -> list[Slot]:
    """A slot for each hour, day or week of the period up to its end, oldest first, those without calls included."""
    begins: dict[Step, Callable[[datetime], datetime]] = {"hour": _hour, "day": _day, "week": _week}
    begin = begins[step]
    slots: dict[datetime, Slot] = {}
    for local, calls, answered in _quarters(session, tenant_id, period):
        start = begin(local)
        before = slots.get(start.astimezone(UTC)) or Slot(start, 0, 0)
        slots[start.astimezone(UTC)] = Slot(before.start, before.calls + calls, before.answered + answered)
    return list(slots.values())


def hours_of_week(session: Session, tenant_id: UUID, period: Period) -> list[HourOfWeek]:
    """All 168 of them, from Monday at 0."""
    calls: Counter[tuple[int, int]] = Counter()
    answered: Counter[tuple[int, int]] = Counter()
    for local, begun, taken in _quarters(session, tenant_id, period):
        place = local.isoweekday(), local.hour
        calls[place] += begun
        answered[place] += taken
    places = [(weekday, hour) for weekday in range(1, 8) for hour in range(24)]
    return [HourOfWeek(*place, calls[place], answered[place]) for place in places]


def _quarters(session: Session, tenant_id: UUID, period: Period) -> Iterator[tuple[datetime, int, int]]:
    """Each quarter of an hour of the period: when it begins, local; calls; answered ones."""
    quarter = _number_of_quarter(session.get_bind().dialect.name).label("quarter")
    counts = select(quarter, func.count().label("calls"), func.count(TALK).label("answered"))
    found = session.execute(counts.where(opening(tenant_id, period.starts[0], period.until)).group_by(quarter))
    known = {row.quarter: (row.calls, row.answered) for row in found}
    moment = period.starts[0]
    while moment < period.until:
        calls, answered = known.get(int(moment.timestamp()) // int(QUARTER.total_seconds()), (0, 0))
        yield moment.astimezone(period.time_zone), calls, answered
        moment += QUARTER


def _number_of_quarter(dialect: str) -> ColumnElement[int]:
    """How many quarters of an hour a call began after the epoch."""
    began = Call.started_at
    seconds = func.extract("epoch", began) if dialect == "postgresql" else cast(func.strftime("%s", began), Integer)
    return cast(func.floor(seconds / int(QUARTER.total_seconds())), Integer)


def _hour(local: datetime) -> datetime:
    return local.replace(minute=0)


def _day(local: datetime) -> datetime:
    return _midnight(local.date(), local)


def _week(local: datetime) -> datetime:
    return _midnight(local.date() - timedelta(days=local.isoweekday() - 1), local)


def _midnight(day: date, local: datetime) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=local.tzinfo)
