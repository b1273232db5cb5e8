"""From the clock on the PBX's wall to UTC.

Call records say ``2026-11-20 18:32:10`` and no zone. Twice a year that is not the whole truth: an hour happens twice
when clocks go back (ambiguous), and one never happens when they go forward (nonexistent; a PBX whose own zone is not
the configured one may still say it). Then a time has two readings, by the offset before and by the offset after the
change. Of all readings of a record's times those are taken that fit its durations best; where several fit alike, those
by the offset before the change.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import product
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_LOCAL_TIME: Final = re.compile(r"(?:19[7-9]|20[0-9]|21[0-9])[0-9]-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_ZEROS: Final = "0000-00-00 00:00:00"


class Moments(NamedTuple):
    """When a call started, was answered and ended: aware, in UTC."""

    start: datetime
    answer: datetime | None
    end: datetime | None


def read_local_time(text: str) -> datetime | None:
    """A time of the PBX's clock, without a zone, from 1970 to 2199. Empty, or all zeros, is None.

    Raises ValueError with a message for whoever sent it.
    """
    if not text or text == _ZEROS:
        return None
    if _LOCAL_TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:  # the 30th of February
            pass
    raise ValueError("is not a time such as 2026-11-20 18:32:10")


def resolve(
    start: datetime, answer: datetime | None, end: datetime | None, duration: int, talk: int, time_zone: ZoneInfo
) -> Moments:
    """The moments that a record's local times stand for. ``duration`` and ``talk`` are in seconds."""
    readings = product(_readings(start, time_zone), _readings(answer, time_zone), _readings(end, time_zone))
    candidates = [Moments(*reading) for reading in readings]  # type: ignore[arg-type]
    return candidates[0] if len(candidates) == 1 else min(candidates, key=lambda it: _misfit(it, duration, talk))


def _readings(local: datetime | None, time_zone: ZoneInfo) -> tuple[datetime | None, ...]:
    """One reading in UTC; two around a change of the offset, by the offset before it first."""
    if local is None:
        return (None,)
    before = local.replace(tzinfo=time_zone)
    after = before.replace(fold=1)
    if before.utcoffset() == after.utcoffset():
        return (before.astimezone(UTC),)
    return before.astimezone(UTC), after.astimezone(UTC)


def _misfit(moments: Moments, duration: int, talk: int) -> float:
    """By how many seconds the times contradict the durations. ``min`` takes the first of equals."""
    misfit = 0.0
    if moments.end is not None:
        misfit += abs((moments.end - moments.start).total_seconds() - duration)
    if moments.answer is not None:
        # The call is answered in its course; without an end, that is known from how long nobody talked.
        misfit += abs((moments.answer - moments.start).total_seconds() - max(duration - talk, 0))
    return misfit
