"""Times that people type by the clock on their wall, which is that of the organisation's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from app.errors import Invalid

NO_TIME: Final = "Please enter a day and a time, such as 31 January 2030, 12:00."
LEFT_OUT: Final = "Clocks are put forward that night and never show this time: please choose an earlier or a later one."

_FORMATS: Final = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")  # of browsers' own fields for a day and a time


def read(text: str, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, at which a clock in ``zone`` shows ``text``; the earlier one of two, when it is put back.

    Raises :class:`~app.errors.Invalid` for what is no time, and for one that is left out when clocks are put forward.
    """
    local = _parse(text)
    try:
        moment = local.replace(tzinfo=zone).astimezone(UTC) if local else None
    except OverflowError:  # in the year 1, or 9999
        moment = None
    if moment is None:
        raise Invalid(NO_TIME)
    if moment.astimezone(zone).replace(tzinfo=None) != local:
        raise Invalid(LEFT_OUT)
    return moment


def happens_twice(text: str, zone: ZoneInfo) -> bool:
    """Whether a clock in ``zone`` shows ``text`` at two moments, because it is put back in between."""
    local = _parse(text)
    if local is None:
        return False
    first, second = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


def show(moment: datetime, zone: ZoneInfo) -> str:
    """What a clock in ``zone`` shows at ``moment``, for such a field, without seconds."""
    return in_zone(moment, zone).replace(tzinfo=None).isoformat(timespec="minutes")


def in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    """``moment`` by a clock in ``zone``; in UTC where that would be before the year 1 or after 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def _parse(text: str) -> datetime | None:
    for accepted in _FORMATS:
        try:
            return datetime.strptime(text, accepted)
        except ValueError:
            pass
    return None
