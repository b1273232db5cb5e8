"""The audit trail, in sentences."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from flask import render_template
from flask.typing import ResponseReturnValue
from wtforms import SelectField, StringField
from wtforms.widgets import DateInput

from app.api_keys import service as api_keys
from app.audit import actions, service
from app.audit.models import AuditEvent
from app.audit.schemas import AuditQuery
from app.dashboard.days import start_of_day
from app.dashboard.forms import Filters
from app.dashboard.pages import page_query, pages_of
from app.dashboard.rendering import show_time
from app.errors import Invalid
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.pagination import PageQuery
from app.tenants import team

pages = pages_of("audit_pages", "/audit")

MOST_OFFERED: Final = PageQuery(limit=200)  # people and keys to choose from; a link in the list finds the others
ACTORS: Final = {
    "api_key": "API key “{}”",
    "phone_system": "Phone system “{}”",
    "operator": "The operator of this service",
    "anonymous": "Somebody who is not signed in",
}
TIMES: Final = {"first", "last", "expires_at", "changed_at", "previous_accepted_until"}  # the details that are one
NAMES: Final = {"fields": "what was set", "first": "first time", "last": "last time"}


class AuditFilters(Filters):
    action = SelectField("What", choices={"": "Everything", **actions.OF_TENANTS}, default="")
    outcome = SelectField(
        "What came of it",
        choices={"": "Anything", "success": "It was done", "refused": "It was refused"},
        default="",
        validate_choice=False,
    )
    actor_id = SelectField("Who", default="")
    from_date = StringField("From", widget=DateInput())
    to_date = StringField("To", widget=DateInput())
    object_id = StringField("About the object with the id", render_kw={"autocomplete": "off", "spellcheck": "false"})


class Row(NamedTuple):
    """An event as it is shown. details: names and values."""

    event: AuditEvent
    who: str
    did: str
    details: list[tuple[str, str]]


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    """Newest first; nothing where a filter is not right."""
    form = AuditFilters()
    form.actor_id.choices = _actors(form.text("actor_id"))
    wanted = _read(form)
    found, following = service.list_page(db.session(), wanted, page_query()) if wanted else ([], None)
    page = render_template(
        "dashboard/audit/list.html",
        form=form,
        rows=[_row(event) for event in found],
        following=following,
        is_narrowed=any(form.data.values()),
    )
    return page, 200 if wanted else 422


def _actors(chosen: str) -> dict[str, str | dict[str, str]]:
    """Whom to choose from, by id: who is in the team, its API keys, and whoever is ``chosen`` by a link."""
    members, _ = team.list_page(db.session(), current_tenant_id(), MOST_OFFERED)
    keys, _ = api_keys.list_page(db.session(), current_tenant_id(), MOST_OFFERED)
    people = {str(member.user_id): member.user.email for member in members}
    machines = {str(key.id): key.name for key in keys}
    others = {chosen: f"Who has the id {chosen}"} if chosen and chosen not in people | machines else {}
    groups = {"Members": people, "API keys": machines, "Others": others}
    return {"": "Everybody"} | {name: group for name, group in groups.items() if group}


def _read(form: AuditFilters) -> service.Filters | None:
    """Which events are asked for; or None, with what is wrong written beside the fields."""
    form.validate()
    values: dict[str, Any] = {
        name: text for name in ("action", "outcome", "actor_id", "object_id") if (text := form.text(name).strip())
    }
    for name, field, later in (("since", "from_date", 0), ("until", "to_date", 1)):
        try:
            if text := form.text(field):
                values[name] = start_of_day(field, text, later=later).isoformat()
        except Invalid as refusal:
            form.refuse(refusal)
    read = form.read(AuditQuery, values)
    if read is None or form.errors:
        return None
    return service.Filters(**{name: getattr(read, name) for name in values})


def _row(event: AuditEvent) -> Row:
    who = ACTORS.get(event.actor_type, "{}").format(event.actor_name)
    details = [(NAMES.get(name, name.replace("_", " ")), _text(name, value)) for name, value in event.details.items()]
    return Row(event, who, actions.WORDS.get(event.action, event.action), details)


def _text(name: str, value: Any) -> str:
    """A detail, for people."""
    if name in TIMES and isinstance(value, str):
        return show_time(datetime.fromisoformat(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return "none" if value is None else str(value)
