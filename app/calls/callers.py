"""Who calls most, and who called in vain and still waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, union_all
from sqlalchemy.orm import Session

from app.calls.models import Call
from app.calls.period import Period
from app.calls.statistics import CALLER, TALK, opening


@dataclass(frozen=True, slots=True)
class Caller:
    """A number and its calls in a period. talk_seconds: of the answered ones together. last_at: when the last began."""

    number: str
    calls: int
    answered: int
    talk_seconds: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A number whose last call of a period was missed, and with which nobody has talked since. missed: how many of its
    calls were."""

    number: str
    missed: int
    first_missed_at: datetime
    last_missed_at: datetime


def top_callers(session: Session, tenant_id: UUID, period: Period, most: int) -> list[Caller]:
    """Those with the most calls first; at most so many. Calls without a number are nobody's."""
    calls, last_at = func.count().label("calls"), func.max(Call.started_at).label("last_at")
    statement = (
        select(CALLER, calls, func.count(TALK), func.coalesce(func.sum(TALK), 0), last_at)
        .where(opening(tenant_id, period.starts[0], period.until), Call.source != "")
        .group_by(CALLER)
        .order_by(calls.desc(), last_at.desc(), CALLER)
        .limit(most)
    )
    return [Caller(number, many, taken, int(talk), at) for number, many, taken, talk, at in session.execute(statement)]


def not_called_back(session: Session, tenant_id: UUID, period: Period, most: int, now: datetime) -> list[Waiting]:
    """Those outside who wait, the one who called last first; at most so many. Until ``now`` somebody may have talked
    with them, in a call from or to the number after the last one that was missed."""
    missed = (
        select(
            CALLER.label("number"),
            func.count().label("missed"),
            func.min(Call.started_at).label("first_at"),
            func.max(Call.started_at).label("last_at"),
        )
        .where(opening(tenant_id, period.starts[0], period.until), TALK.is_(None), Call.source != "")
        .where(or_(Call.direction.is_(None), Call.direction.in_(("inbound", "unknown"))))
        .group_by(CALLER)
        .subquery("missed")
    )
    talked = opening(tenant_id, period.starts[0], now), TALK.is_not(None)
    ends = union_all(
        select(CALLER.label("number"), Call.started_at).where(*talked),
        select(func.coalesce(Call.destination_e164, Call.destination), Call.started_at).where(*talked),
    ).subquery("ends")
    last_talk = select(ends.c.number, func.max(ends.c.started_at).label("at")).group_by(ends.c.number).subquery("talk")
    statement = (
        select(missed)
        .outerjoin(last_talk, last_talk.c.number == missed.c.number)
        .where(or_(last_talk.c.at.is_(None), last_talk.c.at < missed.c.last_at))
        .order_by(missed.c.last_at.desc(), missed.c.number)
        .limit(most)
    )
    return [Waiting(*row) for row in session.execute(statement)]
