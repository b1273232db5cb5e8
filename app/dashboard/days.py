"""Days and times that people choose: of the tenant's time zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from wtforms import HiddenField

from app.calls.period import start_of
from app.dashboard.forms import Form
from app.dashboard.rendering import local_zone, zone_name
from app.errors import Invalid

ZONE_CHANGED: Final = (
    "Your organisation's time zone was changed while this form was open. Nothing of it was saved: please look at its "
    "times, which are of the new zone now, and send it again."
)
NO_DAY: Final = "Please choose a day, such as 2030-01-31."


class ZonedForm(Form):
    """A form with times: it knows in which time zone it has shown them, and does nothing with times of another one."""

    zone = HiddenField(default=zone_name)

    def is_sent(self) -> bool:
        if not super().is_sent():
            return False
        if self.text("zone") == zone_name():
            return True
        self.zone.data = zone_name()
        self.form_errors.append(ZONE_CHANGED)
        return False


def start_of_day(field: str, text: str, *, later: int = 0) -> datetime:
    """When a day begins, in UTC. later: of the day so many days after.

    text: ``YYYY-MM-DD``, as browsers send it. Raises :class:`~app.errors.Invalid`, for that field, for anything else.
    """
    try:
        day = date.fromisoformat(text) + timedelta(days=later)
        return start_of(day, local_zone())
    except (ValueError, OverflowError):
        raise Invalid("There is no such day.", [{"field": field, "message": NO_DAY}]) from None


def chosen_time(form: Form) -> dict[str, str]:
    """``since`` and ``until`` for a schema, of the days in ``from_date`` and ``to_date``, the last one included. What
    is wrong with them is written beside the fields."""
    found = {}
    for name, field, later in (("since", "from_date", 0), ("until", "to_date", 1)):
        try:
            if text := form.text(field):
                found[name] = start_of_day(field, text, later=later)
        except Invalid as refusal:
            form.refuse(refusal)
    if len(found) == 2 and found["until"] <= found["since"]:
        form.complain([{"field": "to_date", "message": "must not be before the first day"}])
    return {name: moment.isoformat() for name, moment in found.items()}
