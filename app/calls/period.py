"""Days of a tenant's time zone, and the days before them to hold them against."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Period:
    """Local days, in their order: where each begins, where they end, and where as many days before begin and end. Times
    are in UTC; what begins at an end is not in it.

    until: never later than the moment that was given; then the period before ends at the same local time of its last
    day, so that like is compared with like.
    """

    time_zone: ZoneInfo
    dates: list[date]
    starts: list[datetime]
    until: datetime
    before_since: datetime
    before_until: datetime

    @classmethod
    def last(cls, time_zone: ZoneInfo, days: int, moment: datetime) -> Period:
        """The last ``days`` days, today included. moment: now, aware."""
        today = moment.astimezone(time_zone).date()
        return cls.between(time_zone, today - timedelta(days=days - 1), today, moment)

    @classmethod
    def between(cls, time_zone: ZoneInfo, first: date, last: date, moment: datetime) -> Period:
        """These days, both included, as far as they are over at ``moment``, which is aware."""
        days = (last - first).days + 1
        dates = [first + timedelta(days=number) for number in range(days)]
        starts = [start_of(day, time_zone) for day in dates]
        end = start_of(last + timedelta(days=1), time_zone)
        before_until = starts[0]
        if moment < end:
            local = moment.astimezone(time_zone) - timedelta(days=days)  # by the clock on the wall, not in hours
            before_until = min(
                local.astimezone(UTC), starts[0]
            )  # a time that clocks jumped over may be the day after's
        before_since = start_of(first - timedelta(days=days), time_zone)
        until = max(min(moment, end), starts[0])
        return cls(time_zone, dates, starts, until, before_since, max(before_until, before_since))


def start_of(day: date, time_zone: ZoneInfo) -> datetime:
    """The first moment of a local day, in UTC: its midnight, or the first of two; where there is none, the moment at
    which clocks jump over it."""
    return datetime.combine(day, time(), time_zone).astimezone(UTC)
