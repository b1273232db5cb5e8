"""Figures about calls: ``/api/calls/summary``, ``/volume``, ``/top-callers`` and ``/missed``."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

from apiflask import APIBlueprint

from app.calls import callers, volume
from app.calls.period import Period
from app.calls.statistics import overview
from app.calls.statistics_schemas import (
    Days,
    DaysAndLimit,
    HoursOfWeekOut,
    MissedOut,
    SummaryOut,
    TopCallersOut,
    VolumeOut,
    VolumeQuery,
)
from app.database import now
from app.errors import Invalid
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.tenants.service import time_zone_of

USUAL_DAYS: Final = 7
MOST_DAYS: Final = 366
MOST_DAYS_BY_HOUR: Final = 31

api = APIBlueprint("call_statistics", __name__, url_prefix="/api/calls", tag="Calls")


@api.get("/summary")
@api.input(Days, location="query")
@api.output(SummaryOut, description="The figures")
@api.doc(summary="Figures of a period, and of the one before it")
@costs(50)
def summary(query_data: Days) -> dict[str, Any]:
    period = _period(query_data)
    found = overview(db.session(), current_tenant_id(), period)
    return _days(period) | {"present": found.present, "before": found.before}


@api.get("/volume")
@api.input(VolumeQuery, location="query")
@api.output(VolumeOut, description="The slots, oldest first")
@api.doc(summary="Calls by hour, day or week", description=f"By hour at most {MOST_DAYS_BY_HOUR} days.")
@costs(50)
def show_volume(query_data: VolumeQuery) -> dict[str, Any]:
    period = _period(query_data, MOST_DAYS_BY_HOUR if query_data.by == "hour" else MOST_DAYS)
    items = volume.volume(db.session(), current_tenant_id(), period, query_data.by)
    return _days(period) | {"by": query_data.by, "items": items}


@api.get("/hours-of-week")
@api.input(Days, location="query")
@api.output(HoursOfWeekOut, description="All 168 hours, from Monday at 0")
@api.doc(summary="Calls by weekday and hour, for a heat map")
@costs(50)
def hours_of_week(query_data: Days) -> dict[str, Any]:
    period = _period(query_data)
    return _days(period) | {"items": volume.hours_of_week(db.session(), current_tenant_id(), period)}


@api.get("/top-callers")
@api.input(DaysAndLimit, location="query")
@api.output(TopCallersOut, description="The numbers with the most calls first")
@api.doc(summary="Who calls most")
@costs(50)
def top_callers(query_data: DaysAndLimit) -> dict[str, Any]:
    period = _period(query_data)
    found = callers.top_callers(db.session(), current_tenant_id(), period, query_data.limit)
    return _days(period) | {"items": found}


@api.get("/missed")
@api.input(DaysAndLimit, location="query")
@api.output(MissedOut, description="The one who called last first")
@api.doc(
    summary="Who called in vain and was not called back",
    description="Numbers whose last call of the period was missed, and with which nobody has talked since.",
)
@costs(50)
def missed(query_data: DaysAndLimit) -> dict[str, Any]:
    period = _period(query_data)
    found = callers.not_called_back(db.session(), current_tenant_id(), period, query_data.limit, now())
    return _days(period) | {"items": found}


def _period(query: Days, most_days: int = MOST_DAYS) -> Period:
    """The days that are asked for: the last seven if none are. Raises :class:`~app.errors.Invalid`."""
    time_zone, moment = time_zone_of(db.session(), current_tenant_id()), now()
    last = query.last_day or moment.astimezone(time_zone).date()
    first = query.first_day or last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise _invalid("first_day", "must not be after last_day, which is today if it is left out")
    if (last - first).days >= most_days:
        raise _invalid("first_day", f"must not be more than {most_days - 1} days before last_day")
    return Period.between(time_zone, first, last, moment)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid("There are no such days to count.", [{"field": field, "message": message}])


def _days(period: Period) -> dict[str, str | date]:
    return {
        "time_zone": period.time_zone.key,
        "first_day": period.dates[0],
        "last_day": period.dates[-1],
    }
