"""The second factor of one's own account: a part of its pages."""

from __future__ import annotations

from typing import Any, Final

from flask import redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField

from app.dashboard.forms import Form, needed, note, warn, warn_of_button
from app.dashboard.once import OnceForm
from app.dashboard.pages import keeps_form, page_with
from app.dashboard.views.account import pages
from app.errors import Conflict, Invalid
from app.extensions import db
from app.identity import second_factor as service
from app.identity import throttle
from app.identity.access import current_membership, current_session, fresh
from app.identity.schemas import Confirmation
from app.limits.budget import costs

RENEWED: Final = "renewed"  # in the cookie: which form has renewed the recovery codes last


class ConfirmationForm(Form):
    code = StringField(
        "Code that the app shows now",
        [needed()],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false", "data-focus": ""},
    )


@pages.get("/second-factor")
@costs(10)
@fresh
def show_second_factor() -> ResponseReturnValue:
    """Reading changes nothing: the secret for the app is made by the button there."""
    return page_with(Form(), "dashboard/account/second_factor.html")


@pages.post("/second-factor")
@costs(10)
@fresh
def begin_second_factor() -> ResponseReturnValue:
    if not Form().is_sent():
        warn_of_button()
        return redirect(url_for("account_pages.show_second_factor"), 303)
    try:
        enrolment = service.begin(db.session(), current_session().user_id)
    except Conflict as refusal:
        db.session.rollback()
        warn(refusal.detail)
        return redirect(url_for("account_pages.show"), 303)
    form = ConfirmationForm(blank=True)
    return page_with(form, "dashboard/account/confirm_second_factor.html", enrolment=enrolment)


@pages.get("/second-factor/confirm")
@costs(10)
@fresh
def show_confirm_second_factor() -> ResponseReturnValue:
    return page_with(ConfirmationForm(), "dashboard/account/confirm_second_factor.html")


def _waiting() -> dict[str, Any]:
    """The QR code that waits for its first code, for whoever has mistyped that: also for a page after a refusal."""
    return {"enrolment": service.waiting(db.session(), current_session().user_id)}


@pages.post("/second-factor/confirm")
@costs(10)
@keeps_form(ConfirmationForm, "dashboard/account/confirm_second_factor.html", _waiting)
@fresh
def confirm_second_factor() -> ResponseReturnValue:
    form, user = ConfirmationForm(), current_membership().user
    if form.is_sent() and user.has_second_factor:
        return _shown_already("Your second factor is on already.")
    if form.is_sent() and (given := form.read(Confirmation, form.texts("code"))):
        attempt = throttle.Attempt(user.email, request.remote_addr)
        attempt.count_code(db.session())
        try:
            codes = service.confirm(db.session(), user.id, given.code.get_secret_value(), current_session().id)
        except (Invalid, Conflict) as refusal:
            db.session.rollback()
            form.refuse(refusal)
        else:
            attempt.succeeded(db.session())
            db.session.commit()
            return render_template("dashboard/account/recovery_codes.html", codes=codes, is_new=True)
    return page_with(form, "dashboard/account/confirm_second_factor.html", **_waiting())


@pages.get("/second-factor/remove")
@costs(10)
@fresh
def show_remove_second_factor() -> ResponseReturnValue:
    return page_with(Form(), "dashboard/account/remove_second_factor.html")


@pages.post("/second-factor/remove")
@costs(100)
@fresh
def remove_second_factor() -> ResponseReturnValue:
    form = Form()
    if not form.is_sent():
        return page_with(form, "dashboard/account/remove_second_factor.html")
    service.remove(db.session(), current_session().user_id)
    note("Your second factor is removed: the password alone is enough.")
    return redirect(url_for("account_pages.show"), 303)


@pages.get("/recovery-codes")
@costs(10)
@fresh
def show_renew_recovery_codes() -> ResponseReturnValue:
    return page_with(OnceForm(), "dashboard/account/renew_recovery_codes.html")


@pages.post("/recovery-codes")
@costs(10)
@fresh
def renew_recovery_codes() -> ResponseReturnValue:
    form = OnceForm()
    id = form.id_to_make() if form.is_sent() else None
    if id is not None:
        if session.get(RENEWED) == str(id):
            return _shown_already("The codes were renewed already, and not a second time.")
        try:
            codes = service.renew_recovery_codes(db.session(), current_session().user_id)
        except Conflict as refusal:
            db.session.rollback()
            form.refuse(refusal)
        else:
            session[RENEWED] = str(id)
            return render_template("dashboard/account/recovery_codes.html", codes=codes, is_new=False)
    return page_with(form, "dashboard/account/renew_recovery_codes.html")


def _shown_already(sentence: str) -> ResponseReturnValue:
    """After a form was sent once more whose answer showed recovery codes."""
    warn(f"{sentence} Your recovery codes were shown once: if you do not have them, make new ones here.")
    return redirect(url_for("account_pages.show"), 303)
