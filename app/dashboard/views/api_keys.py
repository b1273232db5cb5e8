"""API keys: what the tenant's own programs use the API with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import RadioField, SelectField, StringField
from wtforms.widgets import DateInput

from app.api_keys import service
from app.api_keys.schemas import ApiKeyIn
from app.dashboard.days import ZonedForm, start_of_day
from app.dashboard.forms import Form, needed, note, warn
from app.dashboard.once import OnceForm
from app.dashboard.pages import page_query, page_with, pages_of
from app.dashboard.rendering import zone_name
from app.database import now
from app.errors import Invalid, MadeAlready, NotFound
from app.extensions import db
from app.identity.access import current_session, current_tenant_id, fresh
from app.identity.models import Role
from app.limits.budget import costs
from app.mail.delivery import delivery

pages = pages_of("api_keys_pages", "/api-keys")

ROLES: Final = {
    "member": "Member: reads calls, and nothing else",
    "admin": "Admin: also keeps phone systems, payment accounts, API credentials and the organisation's name and time "
    "zone, and reads the audit trail",
}
NEVER: Final = "never"
ON_A_DAY: Final = "day"
EXPIRIES: Final = {
    "30": "In 30 days",
    "90": "In 90 days",
    "365": "In a year",
    ON_A_DAY: "On the day below",
    NEVER: "Never",
}


class ApiKeyForm(ZonedForm, OnceForm):
    name = StringField("Name", [needed()], description="What uses it, such as the wallboard in the hall.")
    role = RadioField("What it may do", choices=ROLES, validate_choice=False)
    expiry = SelectField("Stops working", [needed()], choices=EXPIRIES)
    expires_at = StringField("Last day", widget=DateInput())

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.expires_at.description = f"Only for “On the day below”: until that day ends in {zone_name()}."


@pages.get("")
@costs(0)
def show_list() -> ResponseReturnValue:
    keys, following = service.list_page(db.session(), current_tenant_id(), page_query())
    return render_template("dashboard/api_keys/list.html", keys=keys, following=following)


@pages.get("/new")
@fresh
@costs(10)
def ask_for_new() -> ResponseReturnValue:
    return page_with(ApiKeyForm(data={"role": "member", "expiry": "365"}), "dashboard/api_keys/new.html")


@pages.post("/new")
@fresh
@costs(100)
def create() -> ResponseReturnValue:
    """The key is in this answer, and nowhere else."""
    form = ApiKeyForm()
    wanted = _read(form) if form.is_sent() else None
    id = form.id_to_make() if wanted else None
    if wanted is None or id is None:
        return page_with(form, "dashboard/api_keys/new.html")
    if _is_made(id):
        return _made_already()
    try:
        key, text = service.create(
            db.session(),
            current_tenant_id(),
            name=wanted.name,
            role=Role(wanted.role),
            expires_at=wanted.expires_at,
            created_by=current_session().email,
            key_id=id,
        )
    except Invalid as refusal:
        form.refuse(refusal)
        return page_with(form, "dashboard/api_keys/new.html")
    except MadeAlready:  # two clicks: the other request was faster
        if not _is_made(id):
            raise
        return _made_already()
    curl = f'curl -sS {delivery().public_url}/api/calls -H "Authorization: Bearer {text}"'
    return render_template("dashboard/api_keys/created.html", key=key, text=text, curl=curl)


@pages.get("/<uuid:id>/delete")
@fresh
@costs(0)
def ask_before_deleting(id: UUID) -> ResponseReturnValue:
    return _show_deletion(id, Form())


@pages.post("/<uuid:id>/delete")
@fresh
@costs(0)
def delete(id: UUID) -> ResponseReturnValue:
    form = Form()
    if not form.is_sent():
        return _show_deletion(id, form)
    name = service.get(db.session(), current_tenant_id(), id).name
    service.delete(db.session(), current_tenant_id(), id)
    note(f"The API key “{name}” is deleted: what uses it is refused from now on.")
    return redirect(url_for("api_keys_pages.show_list"), 303)


def _is_made(key_id: UUID) -> bool:
    """Whether the tenant has a key with that id."""
    try:
        service.get(db.session(), current_tenant_id(), key_id)
    except NotFound:
        return False
    return True


def _made_already() -> ResponseReturnValue:
    """After the form was sent once more."""
    warn("The key was made already, and not a second time. It was shown once: if you do not have it, make another one.")
    return redirect(url_for("api_keys_pages.show_list"), 303)


def _read(form: ApiKeyForm) -> ApiKeyIn | None:
    """What is wanted; or None, with what is wrong written beside the fields."""
    try:
        expires_at = _expiry(form)
    except Invalid as refusal:
        form.refuse(refusal)
        return None
    chosen = {"expires_at": expires_at.isoformat() if expires_at else None}
    return form.read(ApiKeyIn, form.texts("name", "role") | chosen)


def _expiry(form: ApiKeyForm) -> datetime | None:
    """When the key is to stop working: on a day means at the end of it. Raises Invalid for what is no day."""
    chosen = form.text("expiry")
    if chosen == NEVER:
        return None
    if chosen == ON_A_DAY:
        return start_of_day("expires_at", form.text("expires_at"), later=1)
    return now() + timedelta(days=int(chosen))


def _show_deletion(key_id: UUID, form: Form) -> tuple[str, int]:
    key = service.get(db.session(), current_tenant_id(), key_id)
    return page_with(form, "dashboard/api_keys/delete.html", key=key)
