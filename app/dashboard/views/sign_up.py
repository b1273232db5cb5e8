"""Signing up, for whoever has no organisation here yet."""

from __future__ import annotations

from typing import Final

from flask import current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, SelectField, StringField

from app.dashboard.forms import Form, needed, time_zone_choices
from app.dashboard.pages import keeps_form, page_with, pages_of
from app.dashboard.views.links import (
    JoiningForm,
    about_to_sign_out,
    ask_for_link,
    is_understood,
    joined,
    joining_form,
    link_not_valid,
    sent_token,
    typed,
)
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db
from app.identity import throttle
from app.identity.one_time import LinkNotValid
from app.identity.users import canonical_email
from app.limits.counting import limited
from app.limits.limit import Limit
from app.tenants import sign_up as service
from app.tenants.schemas import SignUpConfirmation, SignUpIn

pages = pages_of("sign_up_pages", "/sign-up")
pages.register_error_handler(LinkNotValid, link_not_valid)

SUBDOMAIN: Final = {"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}
WHAT_FOR: Final = (
    "Small letters, digits and -, such as acme for Acme Ltd. It becomes part of the address that your phone system "
    "sends its calls to, and cannot be changed later."
)


class SignUpForm(Form):
    tenant_name = StringField("Name of your organisation", [needed()], render_kw={"autocomplete": "organization"})
    subdomain = StringField("Short name", [needed()], description=WHAT_FOR, render_kw=SUBDOMAIN)
    email = EmailField("Your e-mail address", [needed()], render_kw={"autocomplete": "email"})
    time_zone = SelectField("Time zone", [needed()], choices=time_zone_choices, default="UTC", validate_choice=False)


class ConfirmationForm(JoiningForm):
    """subdomain: in place of one that somebody else has by now."""

    subdomain = StringField("Another short name", description=WHAT_FOR, render_kw=SUBDOMAIN)


@pages.get("")
def show() -> ResponseReturnValue:
    _require_open()
    form = SignUpForm()
    form.time_zone.render_kw = {"data-own-time-zone": ""}
    return page_with(form, "dashboard/links/sign_up.html")


@pages.post("")
@keeps_form(SignUpForm, "dashboard/links/sign_up.html")
@limited(Limit.ACCOUNT_MAIL)
def send() -> ResponseReturnValue:
    _require_open()
    form = SignUpForm()
    values = form.texts("email", "tenant_name", "subdomain", "time_zone")
    if form.is_sent() and (given := form.read(SignUpIn, values)):
        try:
            throttle.count_mail(canonical_email(given.email), "sign_up.request")
            service.request(db.session(), **given.model_dump())
        except Conflict as refusal:
            form.complain([{"field": "subdomain", "message": refusal.detail}])
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return redirect(url_for("links.mail_sent"), 303)
    return page_with(form, "dashboard/links/sign_up.html")


@pages.get("/confirm")
def show_confirmation() -> ResponseReturnValue:
    service.require_open()
    return ask_for_link("Confirm your address")


@pages.post("/confirm")
@limited(Limit.ACCOUNT_TOKEN)
def confirm() -> ResponseReturnValue:
    service.require_open()
    token = sent_token()
    if not token:
        return ask_for_link("Confirm your address")
    wanted = service.look_up(db.session(), token)
    form = joining_form(ConfirmationForm, token, wanted.has_account)
    form["subdomain"].flags.required = True  # where it is shown
    choose_another = "subdomain" in request.form
    if is_understood(form) and (given := form.read(SignUpConfirmation, typed(form, "token", "password", "subdomain"))):
        try:
            membership = service.confirm(db.session(), token, given.given().get("password"), given.subdomain)
        except LinkNotValid:
            raise
        except Conflict as refusal:
            choose_another = True
            form.complain([{"field": "subdomain", "message": refusal.detail}])
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return joined(membership, wanted.has_account)
    signs_out = about_to_sign_out(wanted.has_account)
    values = {"wanted": wanted, "choose_another": choose_another, "signs_out": signs_out}
    return page_with(form, "dashboard/links/confirm_sign_up.html", **values)


def _require_open() -> None:
    if not current_app.config["SIGN_UP_OPEN"]:
        raise NotFound("Nobody can sign up here by themselves.")
