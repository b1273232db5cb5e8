"""Four weeks of calls as a small company has them: made up, and the same for the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from app.phone_systems.vendors import CallRecord

DAYS: Final = 28

# How many calls begin in an hour of the day, on average: from Monday to Friday, and at the weekend.
WORKING_DAY: Final = {8: 3, 9: 7, 10: 9, 11: 8, 12: 4, 13: 4, 14: 8, 15: 7, 16: 6, 17: 3, 18: 1}
WEEKEND: Final = {10: 1, 12: 1, 15: 1}

EXTENSIONS: Final = ("100", "101", "102", "103")
CALLERS: Final = (  # numbers that Ofcom keeps for fiction
    ("+442079460018", "Ada Lovelace"),
    ("+442079460127", "Charles Babbage"),
    ("+441632960345", "Mary Somerville"),
    ("+441632960871", None),
    ("+447700900412", "Alan Turing"),
    ("+447700900963", None),
    ("+441514960522", "Grace Hopper"),
)
OUTCOMES: Final = ("answered",) * 14 + ("no_answer",) * 3 + ("busy", "voicemail", "failed")


def generated_calls(until: datetime, time_zone: ZoneInfo) -> list[CallRecord]:
    """Calls that begin in the four weeks before ``until`` and are over by then. until: aware."""
    random = Random(1815)  # noqa: S311 the same calls each time; nothing here is secret
    first_day = until.astimezone(time_zone).date() - timedelta(days=DAYS)
    begins = (
        moment
        for day in range(DAYS + 1)
        for moment in _begins(random, datetime.combine(first_day + timedelta(days=day), time(), time_zone))
    )
    calls = (_call(random, number, moment) for number, moment in enumerate(begins))
    return [call for call in calls if until - timedelta(days=DAYS) <= call.started_at and _end(call) <= until]


def _begins(random: Random, midnight: datetime) -> Iterator[datetime]:
    """When the calls of a day begin, in UTC."""
    for hour, average in (WEEKEND if midnight.weekday() >= 5 else WORKING_DAY).items():
        for _ in range(random.randint(0, 2 * average)):
            local = midnight.replace(hour=hour, minute=random.randrange(60), second=random.randrange(60))
            yield local.astimezone(UTC)


def _call(random: Random, number: int, started_at: datetime) -> CallRecord:
    (caller, name), extension = random.choice(CALLERS), random.choice(EXTENSIONS)
    outgoing = random.random() < 0.3
    disposition = random.choice([outcome for outcome in OUTCOMES if not (outgoing and outcome == "voicemail")])
    ringing = random.randint(2, 25)
    talking = int(random.expovariate(1 / 180)) + 5 if disposition in ("answered", "voicemail") else 0
    return CallRecord(
        record_key=f"demonstration-{number}",
        linked_id=f"demonstration-{number}",
        source=extension if outgoing else caller,
        destination=caller if outgoing else extension,
        caller_name=None if outgoing else name,
        started_at=started_at,
        answered_at=started_at + timedelta(seconds=ringing) if talking else None,
        ended_at=started_at + timedelta(seconds=ringing + talking),
        duration_seconds=ringing + talking,
        talk_seconds=talking,
        disposition=disposition,
        details={},
    )


def _end(call: CallRecord) -> datetime:
    return call.started_at + timedelta(seconds=call.duration_seconds)
