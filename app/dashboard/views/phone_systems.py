"""Phone systems: what there is, how to set one up, how it is doing, and its webhook password."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import RadioField, SelectField, StringField

from app.dashboard import set_up
from app.dashboard.connection_kinds import ConnectionForm, Kind
from app.dashboard.connections import add_changes, creation, removal, stored
from app.dashboard.forms import SecretField, VersionedForm, needed, note, time_zone_choices
from app.dashboard.pages import form_route, page_query, page_with, pages_of
from app.dashboard.unreadable_deliveries import add_unreadable_deliveries, newest_unreadable
from app.database import now
from app.encryption import EncryptionError
from app.errors import Invalid
from app.extensions import db
from app.identity.access import current_membership, current_tenant_id, fresh
from app.limits.budget import costs
from app.phone_systems import health
from app.phone_systems.attention import attention
from app.phone_systems.models import PhoneSystem
from app.phone_systems.schemas import PhoneSystemChanges, PhoneSystemIn
from app.phone_systems.service import WEBHOOK_USERNAME, phone_systems
from app.phone_systems.vendors import VENDORS

pages = pages_of("phone_systems_pages", "/phone-systems")

GRACES: Final = {
    "0": "Not at all: refuse it at once, because somebody else may know it",
    "1": "1 hour",
    "24": "24 hours",
    "168": "7 days",
}
WITHOUT_API: Final = "Kept for signing in to the phone system later. Call records come without it."
PASSWORD_SHOWN: Final = "Its webhook password was shown once, if it has one: if you do not have it, set a new one here."
PASSWORD_GONE: Final = (
    "Its webhook password was removed, because this kind of phone system shows in another way who it is: set it anew."
)
UNREADABLE: Final = (
    "The old password cannot be read any more, so it cannot be kept. Choose “Not at all”: deliveries are refused until "
    "the phone system has the new one."
)


def _time_zones() -> dict[str, list[tuple[str, str]]]:
    return {"The organisation's": [("", current_membership().tenant.time_zone)], **time_zone_choices()}


class PhoneSystemForm(ConnectionForm):
    PLAIN = ("name", "vendor", "time_zone", "webhook_username", "base_url", "username")
    HEADINGS: ClassVar[Mapping[str, tuple[str, str]]] = {"base_url": ("Its API", WITHOUT_API)}

    name = StringField("Name", [needed()], description="For people to tell it from others, such as Head office.")
    vendor = SelectField(
        "Kind", [needed()], choices={name: vendor.LABEL for name, vendor in VENDORS.items()}, validate_choice=False
    )
    time_zone = SelectField("Time zone of its clock", choices=_time_zones, validate_choice=False)
    webhook_username = StringField(
        "User name for deliveries",
        description=f"The phone system signs in to AudiaPro with it. If you leave it empty, it is {WEBHOOK_USERNAME}. "
        "A Yeastar has none: it makes a secret, which you are asked for once this is saved.",
    )
    base_url = StringField("Address", description="Such as https://pbx.example.com:8089.")
    username = StringField("User name")
    password = SecretField("Password")

    def values(self, row: Any = None) -> dict[str, Any]:
        values = self.texts(*self.PLAIN)
        return {**values, "webhook_username": values["webhook_username"] or WEBHOOK_USERNAME}

    def remark(self, changes: Mapping[str, Any]) -> str | None:
        return PASSWORD_GONE if "webhook_password" in changes and changes["webhook_password"] is None else None


class RotationForm(VersionedForm):
    keep_previous_hours = RadioField("How long is the old password to work as well?", choices=GRACES, default="24")


class SecretForm(VersionedForm):
    """The same, where the phone system makes the secret."""

    password = SecretField(
        "Webhook secret", [needed()], description="As the phone system shows it. It is not shown again to anybody."
    )
    keep_previous_hours = RadioField("How long is the old secret to work as well?", choices=GRACES, default="24")


KIND: Final = Kind(
    integrations=phone_systems,
    one="phone system",
    secret_label="API password",
    form=PhoneSystemForm,
    given=PhoneSystemIn,
    changes=PhoneSystemChanges,
    name_of=lambda phone_system: phone_system.name,
    sent_to=lambda phone_system: phone_system.base_url or "no address yet",
    after_deletion="What it delivers is refused from then on. Its call records stay. Its passwords and what it "
    "delivered that was not understood are removed, and its webhook URL is gone for good: added "
    "again, it gets another one.",
)
add_changes(pages, KIND)
add_unreadable_deliveries(pages, KIND)


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    tenant_id, moment = current_tenant_id(), now()
    health.catch_up(tenant_id)
    found, following = phone_systems.list_page(db.session(), tenant_id, page_query())
    states = health.health_of(db.session(), tenant_id, [phone_system.id for phone_system in found]) if found else {}
    rows = [(one, states.get(one.id), attention(one, states.get(one.id), moment)) for one in found]
    return render_template("dashboard/phone_systems/list.html", rows=rows, following=following, vendors=VENDORS)


@form_route(pages, "/new")
@costs(10)
def create() -> ResponseReturnValue:
    return creation(KIND, _show_new, PASSWORD_SHOWN)


@pages.get("/<uuid:id>")
@costs(10)
def show(id: UUID) -> ResponseReturnValue:
    health.catch_up(current_tenant_id())
    phone_system, moment = KIND.get(id), now()
    state = health.get(db.session(), current_tenant_id(), id)
    is_waiting = state.last_delivery_at is None or "wait" in request.args
    return render_template(
        "dashboard/phone_systems/show.html",
        phone_system=phone_system,
        kind=KIND,
        vendor=VENDORS[phone_system.vendor].LABEL,
        state=state,
        lately=health.counts(db.session(), current_tenant_id(), id, moment - health.LATELY),
        unreadable=newest_unreadable(id),
        needed=attention(phone_system, state, moment),
        used_at=set_up.password_used_at(phone_system),
        waiting=set_up.waiting(phone_system, moment) if is_waiting else None,
        **set_up.instructions(phone_system),
    )


@pages.get("/<uuid:id>/arrivals")
@costs(2)
def show_arrivals(id: UUID) -> ResponseReturnValue:
    """A part of a page, which asks for it again and again until it has what it waits for, or has waited enough."""
    health.catch_up(current_tenant_id())
    phone_system = KIND.get(id)
    waiting = set_up.waiting(phone_system, _since())
    label = VENDORS[phone_system.vendor].LABEL
    return render_template(
        "dashboard/phone_systems/arrivals.html", phone_system=phone_system, vendor=label, waiting=waiting
    )


@form_route(pages, "/<uuid:id>/webhook-password")
@fresh
@costs(10)
def rotate_webhook_password(id: UUID) -> ResponseReturnValue:
    phone_system = KIND.get(id, to_change=request.method == "POST")
    is_pasted = set_up.is_pasted(phone_system)
    form = (SecretForm if is_pasted else RotationForm)(data={"version": phone_system.version})
    if form.is_sent():
        is_done, generated = False, None
        try:
            is_done, generated = _rotated(phone_system, form)
        except EncryptionError:
            db.session.rollback()
            form.complain([{"field": "keep_previous_hours", "message": UNREADABLE}])
        except Invalid as invalid:
            db.session.rollback()
            form.complain(invalid.errors or ())
        phone_system = KIND.get(id)
        if generated is not None:
            return set_up.show_password(phone_system, generated, is_new=False)
        if is_done:
            note(f"The webhook secret of {phone_system.name} was saved.")
            return redirect(url_for(".show", id=id, wait=1), 303)
    return page_with(
        form,
        "dashboard/phone_systems/rotate.html",
        phone_system=phone_system,
        **set_up.instructions(phone_system),
    )


@form_route(pages, "/<uuid:id>/webhook-password/end-grace")
@fresh
@costs(10)
def end_grace(id: UUID) -> ResponseReturnValue:
    phone_system = KIND.get(id, to_change=request.method == "POST")
    form = VersionedForm(data={"version": phone_system.version})
    if form.is_sent():
        sent = db.session(), current_tenant_id(), id, form.sent_version()
        if stored(form, phone_system, lambda: phone_systems.end_grace(*sent)):
            note("The old webhook password does not work any more.")
            return redirect(url_for(".show", id=id), 303)
    used_at = set_up.password_used_at(phone_system)
    return page_with(form, "dashboard/phone_systems/end_grace.html", phone_system=phone_system, used_at=used_at)


@form_route(pages, "/<uuid:id>/webhook-password/remove")
@fresh
@costs(10)
def remove_webhook_password(id: UUID) -> ResponseReturnValue:
    meaning = "Everything that the phone system delivers is refused until you set a new one. Its call records stay."
    return removal(KIND, id, "webhook_password", "webhook password", meaning, url_for(".show", id=id))


def _show_new(phone_system: PhoneSystem) -> ResponseReturnValue:
    if set_up.is_pasted(phone_system):
        note(f"{phone_system.name} was added. It delivers once its secret is here.")
        return redirect(url_for(".rotate_webhook_password", id=phone_system.id), 303)
    return set_up.show_password(phone_system, phone_system.webhook_password, is_new=True)


def _rotated(phone_system: PhoneSystem, form: RotationForm | SecretForm) -> tuple[bool, str | None]:
    """Whether there is a new password, if not, the form says why; and what it is, if it was made up. Raises
    EncryptionError if the old one is to be kept and cannot be read, and Invalid for one that was typed and is none."""
    generated = None
    typed = form.text("password").strip() if isinstance(form, SecretForm) else None  # pasted with a blank, perhaps

    def rotate() -> None:
        nonlocal generated
        _, generated = phone_systems.rotate_webhook_password(
            db.session(),
            current_tenant_id(),
            phone_system.id,
            password=typed,
            keep_previous=timedelta(hours=int(form.text("keep_previous_hours"))),
            version=form.sent_version(),
        )

    return stored(form, phone_system, rotate), generated


def _since() -> datetime:
    """What the address says; what it cannot mean is now, and so is the future."""
    moment = now()
    try:
        since = datetime.fromisoformat(request.args.get("since", ""))
        return min(since.astimezone(UTC), moment) if since.tzinfo is not None else moment
    except (ValueError, OverflowError):
        return moment
