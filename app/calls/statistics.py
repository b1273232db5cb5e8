"""Figures about calls. docs/metrics.md says the same for those who read them.

What is counted are calls, not legs: the records of one phone system with the same ``linked_id`` are one call, a record
without one is a call by itself.

* A call begins with its earliest leg, which also says who called; it belongs to the local day on which it begins.
* It is answered if any of its legs was, and missed otherwise: not picked up, busy, failed, left to the voicemail.
* Its talk time is that of its longest answered leg: legs may be parts of the same conversation.

The direction of a call is that of its earliest leg. Calls within the company count as all others do, and so do calls of
a demonstration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, and_, case, func, literal, select, union_all
from sqlalchemy.orm import Session

from app.calls.models import Call
from app.calls.period import Period

# What became of the call that a leg opens, and how long it was talked, None unless it was answered.
DISPOSITION: Final = func.coalesce(Call.call_disposition, Call.disposition)
TALK: Final = case(
    (Call.call_disposition.is_not(None), Call.call_talk_seconds), (Call.disposition == "answered", Call.talk_seconds)
)

# Who called: the number with its country's code where it is known, so that it is one however it was written.
CALLER: Final = func.coalesce(Call.source_e164, Call.source)
DIRECTIONS: Final = ("inbound", "outbound", "internal")

# In place of the number of a day.
_BEFORE: Final = -1
_CALLERS: Final = -2
_CALLERS_BEFORE: Final = -3


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of the calls that began from ``since`` until just before ``until``, in UTC.

    unique_callers: different numbers that called. talk_seconds: of all answered calls together. inbound, outbound,
    internal: calls of which the direction is known.
    """

    since: datetime
    until: datetime
    calls: int
    answered: int
    unique_callers: int
    talk_seconds: int
    inbound: int = 0
    outbound: int = 0
    internal: int = 0

    @property
    def missed(self) -> int:
        return self.calls - self.answered

    @property
    def answered_share(self) -> float | None:
        """From 0 to 1; None without calls."""
        return self.answered / self.calls if self.calls else None

    @property
    def average_talk_seconds(self) -> float | None:
        """Of answered calls; None if there are none."""
        return self.talk_seconds / self.answered if self.answered else None


@dataclass(frozen=True, slots=True)
class Day:
    """The calls that began on a local day."""

    date: date
    answered: int
    missed: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The present period, the one of the same length before it, and each day of the present one, oldest first."""

    present: Figures
    before: Figures
    days: list[Day]


def overview(session: Session, tenant_id: UUID, period: Period) -> Overview:
    """The figures of the period, of the one before it, and of each day.

    One statement, which returns a row for each day and three more, however many calls there are.
    """
    found = {row.part: row for row in session.execute(_figures(tenant_id, period))}
    of_days = [found[number] for number in range(len(period.dates))]
    return Overview(
        present=_total(of_days, found[_CALLERS], period.starts[0], period.until),
        before=_total([found[_BEFORE]], found[_CALLERS_BEFORE], period.before_since, period.before_until),
        days=[Day(day, row.answered, row.calls - row.answered) for day, row in zip(period.dates, of_days, strict=True)],
    )


def opening(tenant_id: UUID, since: datetime, until: datetime) -> ColumnElement[bool]:
    """The legs that stand for the tenant's calls that began from ``since`` until just before ``until``, both aware."""
    return and_(Call.tenant_id == tenant_id, Call.opens_call, Call.started_at >= since, Call.started_at < until)


def _figures(tenant_id: UUID, period: Period) -> CompoundSelect[Any]:
    """Of each day, and of the period before; and how many callers each period has, in which one of several days counts
    once. Each is read by itself, from its own piece of an index: together, all calls would be sorted by day or caller.
    """

    def of_part(part: int, since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
        talk_seconds = func.coalesce(func.sum(TALK), 0).label("talk_seconds")
        figures = func.count().label("calls"), func.count(TALK).label("answered"), talk_seconds
        directions = (func.count(case((Call.direction == name, 1))).label(name) for name in DIRECTIONS)
        return select(literal(part).label("part"), *figures, *directions).where(opening(tenant_id, since, until))

    def callers(part: int, since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
        different = select(CALLER).where(opening(tenant_id, since, until)).distinct().subquery()
        return select(literal(part), func.count(), *[literal(0)] * (len(_SUMS) - 1)).select_from(different)

    borders = [*period.starts, period.until]
    return union_all(
        of_part(_BEFORE, period.before_since, period.before_until),
        callers(_CALLERS_BEFORE, period.before_since, period.before_until),
        callers(_CALLERS, period.starts[0], period.until),
        *(of_part(number, *between) for number, between in enumerate(pairwise(borders))),
    )


def _total(parts: Sequence[Row[Any]], callers: Row[Any], since: datetime, until: datetime) -> Figures:
    sums = {name: int(sum(getattr(it, name) for it in parts)) for name in _SUMS}
    return Figures(since, until, unique_callers=callers.calls, **sums)


_SUMS: Final = ("calls", "answered", "talk_seconds", *DIRECTIONS)
