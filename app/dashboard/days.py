"""Days, as people choose them: of the tenant's time zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from app.calls.statistics import start_of
from app.dashboard.rendering import local_zone
from app.errors import Invalid

NO_DAY = "Please choose a day, such as 2030-01-31."


def start_of_day(field: str, text: str, *, later: int = 0) -> datetime:
    """When a day begins, in UTC. later: of the day so many days after.

    text: ``YYYY-MM-DD``, as browsers send it. Raises :class:`~app.errors.Invalid`, for that field, for anything else.
    """
    try:
        day = date.fromisoformat(text) + timedelta(days=later)
        return start_of(day, local_zone())
    except (ValueError, OverflowError):
        raise Invalid("There is no such day.", [{"field": field, "message": NO_DAY}]) from None
