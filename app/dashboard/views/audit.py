"""The audit trail, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from flask import render_template
from flask.typing import ResponseReturnValue
from wtforms import SelectField, StringField
from wtforms.widgets import DateInput

from app.api_keys import service as api_keys
from app.audit import actions, service
from app.audit.models import AuditEvent
from app.audit.schemas import AuditQuery
from app.credentials.service import api_credentials
from app.dashboard.connected import name_in, name_of
from app.dashboard.days import chosen_time
from app.dashboard.forms import Filters
from app.dashboard.navigation import address_of
from app.dashboard.pages import page_query, pages_of
from app.dashboard.rendering import show_time
from app.extensions import db
from app.identity.access import current_tenant_id
from app.integrations.service import Integrations
from app.limits.budget import costs
from app.pagination import PageQuery
from app.payments.service import payment_accounts
from app.phone_systems.service import phone_systems
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
FIELDS: Final = {  # as the forms call them
    "vendor": "kind",
    "base_url": "address of its API",
    "username": "user name there",
    "password": "API password",
    "webhook_username": "user name for deliveries",
    "expires_at": "expiry",
    "client_id": "client ID",
    "webhook_id": "webhook ID",
}
# What connections are called in actions, and where their pages are. Deliveries are phone systems'.
CONNECTIONS: Final[Mapping[str, tuple[Integrations[Any], str]]] = {
    **dict.fromkeys(
        ("phone_system", "webhook_password", "previous_webhook_password", "delivery", "secret"),
        (phone_systems, "phone_systems_pages"),
    ),
    "payment_account": (payment_accounts, "payment_accounts_pages"),
    "api_credential": (api_credentials, "api_credentials_pages"),
}


class AuditFilters(Filters):
    action = SelectField("What", choices={"": "Everything", **actions.OF_TENANTS}, default="")
    outcome = SelectField(
        "Result",
        choices={"": "Anything", "success": "It was done", "refused": "It was refused"},
        default="",
        validate_choice=False,
    )
    actor_id = SelectField("Who", default="")
    from_date = StringField("From", widget=DateInput())
    to_date = StringField("To", widget=DateInput())
    object_id = StringField("Object id", render_kw={"autocomplete": "off", "spellcheck": "false"})


class Row(NamedTuple):
    """An event as it is shown. details: names and values. about: what people call the connection that it is about, ""
    for other events; address: of its page, None if it is gone."""

    event: AuditEvent
    who: str
    did: str
    details: list[tuple[str, str]]
    about: str
    address: str | None


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
        rows=_rows(found),
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
    values |= chosen_time(form)
    read = form.read(AuditQuery, values)
    if read is None or form.errors:
        return None
    return service.Filters(**{name: getattr(read, name) for name in values})


def _rows(found: list[AuditEvent]) -> list[Row]:
    """With the connections that there still are, in one statement for each kind."""
    kinds = {kind.noun: kind for kind, _ in CONNECTIONS.values()}
    ids: dict[str, set[UUID]] = {noun: set() for noun in kinds}
    for event in found:
        if (connection := CONNECTIONS.get(_noun(event))) is not None and event.object_id is not None:
            ids[connection[0].noun].add(event.object_id)
    there = {
        row.id: row for noun, kind in kinds.items() for row in kind.find(db.session(), current_tenant_id(), ids[noun])
    }
    return [_row(event, there.get(event.object_id)) for event in found]


def _row(event: AuditEvent, there: Any) -> Row:
    """there: the connection that it is about, if there still is one."""
    who = ACTORS.get(event.actor_type, "{}").format(event.actor_name)
    did, details = actions.WORDS.get(event.action, event.action), event.details
    about, address = "", None
    if (connection := CONNECTIONS.get(_noun(event))) is not None:
        kind, place = connection
        named = {name: details[name] for name in kind.named_by if name in details}
        details = {name: value for name, value in details.items() if name not in named}
        address = address_of(place, there.id) if there is not None else None
        about = name_in(named) or (name_of(there) if there is not None else "")
    shown = [(NAMES.get(name, name.replace("_", " ")), _text(name, value)) for name, value in details.items()]
    return Row(event, who, did, shown, about, address)


def _noun(event: AuditEvent) -> str:
    return event.action.partition(".")[0]


def _text(name: str, value: Any) -> str:
    """A detail, for people."""
    if name in TIMES and isinstance(value, str):
        return show_time(datetime.fromisoformat(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(FIELDS.get(str(one), str(one).replace("_", " ")) for one in value)
    return "none" if value is None else str(value)
