"""Calls: the log of their records, one of them, and a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import SelectField, StringField
from wtforms.widgets import DateInput

from app.calls import service
from app.calls.download import csv_download
from app.calls.schemas import CallFilters
from app.dashboard.access import refuse_other_sites
from app.dashboard.days import chosen_time
from app.dashboard.forms import Filters
from app.dashboard.pages import pages_of
from app.dashboard.rendering import local_zone, with_query
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.pagination import PageQuery
from app.phone_systems.service import phone_systems

# How a call ended, in words, and the colour that goes with them.
OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "answered": ("Answered", "success"),
    "no_answer": ("Not answered", "warning"),
    "busy": ("Busy", "warning"),
    "failed": ("Failed", "danger"),
    "voicemail": ("Voicemail", "info"),
    "other": ("Other", "secondary"),
}

# Which way it went, in words, and the icon that goes with them.
DIRECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "inbound": ("Inbound", "telephone-inbound"),
    "outbound": ("Outbound", "telephone-outbound"),
    "internal": ("Internal", "arrow-left-right"),
    "unknown": ("Unknown", "question-circle"),
}

pages = pages_of("calls_pages", "/calls")


class CallFiltersForm(Filters):
    from_date = StringField("From", widget=DateInput())
    to_date = StringField("To", widget=DateInput())
    number = StringField("Number", render_kw={"autocomplete": "off", "placeholder": "or a part of it"})
    direction = SelectField("Direction", validate_choice=False)
    extension = StringField("Extension", render_kw={"autocomplete": "off"})
    disposition = SelectField("Outcome", validate_choice=False)
    phone_system_id = SelectField("Phone system", validate_choice=False)

    def __init__(self, names: Mapping[UUID, str]) -> None:
        """names: of the tenant's phone systems, by their ids."""
        super().__init__()
        self.names = names
        self.direction.choices = [("", "All"), *((name, text) for name, (text, _) in DIRECTIONS.items())]
        self.disposition.choices = [("", "All"), *((name, text) for name, (text, _) in OUTCOMES.items())]
        self.phone_system_id.choices = [("", "All"), *((str(id), name) for id, name in names.items())]

    def chosen(self) -> service.Filters | None:
        """Which records are asked for; or None, with what is wrong written beside the fields. Days are the tenant's,
        and the last one is included."""
        self.validate()
        values: dict[str, Any] = {
            field.name: text
            for field in (self.number, self.direction, self.extension, self.disposition, self.phone_system_id)
            if (text := self.text(field.name).strip())
        }
        values |= chosen_time(self)
        read = self.read(CallFilters, values)
        if read is None or self.errors:
            return None
        if "phone_system_id" in values and read.phone_system_id not in self.names:
            self.complain([{"field": "phone_system_id", "message": "there is no such phone system"}])
            return None
        return service.chosen(db.session(), current_tenant_id(), {name: getattr(read, name) for name in values})


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    """Newest first; nothing where a filter is not right."""
    names = phone_systems.names(db.session(), current_tenant_id())
    form = CallFiltersForm(names)
    filters, calls, following = form.chosen(), None, None
    if filters is not None:
        cursor = request.args.get("cursor")
        page = PageQuery.model_validate({"cursor": cursor} if cursor else {})
        calls, following = service.list_calls(db.session(), current_tenant_id(), page, filters)
    sent = _sent(form)
    answer = render_template(
        "dashboard/calls/list.html",
        form=form,
        calls=calls,
        following=following,
        names=names,
        outcomes=OUTCOMES,
        directions=DIRECTIONS,
        sent=sent | _cursor(),
        is_narrowed=bool(sent),
        export=with_query(url_for(".export"), sent),
    )
    return answer, HTTPStatus.OK if filters is not None else HTTPStatus.UNPROCESSABLE_ENTITY


@pages.get("/export.csv")
@costs(1000)
def export() -> ResponseReturnValue:
    """All that fit, in as many lines; or the list, which says what is not right."""
    refuse_other_sites()  # it costs the organisation much, and is recorded in the user's name
    tenant_id = current_tenant_id()
    filters = CallFiltersForm(phone_systems.names(db.session(), tenant_id)).chosen()
    if filters is None:
        return redirect(with_query(url_for(".show_list"), request.args.to_dict()), HTTPStatus.SEE_OTHER)
    return csv_download(tenant_id, filters, local_zone())


@pages.get("/<uuid:id>")
@costs(10)
def show(id: UUID) -> ResponseReturnValue:
    """One record, and the other legs of its call. The address has the list's query, for the way back."""
    tenant_id = current_tenant_id()
    call, others = service.get_call(db.session(), tenant_id, id)
    legs = sorted([call, *others], key=lambda leg: (leg.started_at, leg.id))
    names = phone_systems.names(db.session(), tenant_id)
    return render_template(
        "dashboard/calls/show.html",
        call=call,
        legs=legs,
        names=names,
        outcomes=OUTCOMES,
        directions=DIRECTIONS,
        sent=_sent(CallFiltersForm(names)) | _cursor(),
    )


def _sent(form: CallFiltersForm) -> dict[str, str]:
    """What the address says of the filters, and nothing else of it."""
    return {field.name: text for field in form if (text := request.args.get(field.name))}


def _cursor() -> dict[str, str]:
    """Which page of the list the address says."""
    cursor = request.args.get("cursor")
    return {"cursor": cursor} if cursor else {}
