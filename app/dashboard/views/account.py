"""One's own account: address, password, sessions, and leaving. The second factor: see :mod:`second_factor`."""

from __future__ import annotations

from uuid import UUID

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField

from app.dashboard.forms import Form, SecretField, needed, note, warn_of_button
from app.dashboard.pages import keeps_form, page_with, pages_of
from app.dashboard.views.links import NEW_PASSWORD
from app.dashboard.views.sign_in import signed_out
from app.encryption import EncryptionError
from app.errors import Conflict, Invalid, Unauthenticated
from app.extensions import db
from app.identity import accounts, refusals, second_factor, sessions, signing_out, throttle
from app.identity.access import current_membership, current_session, fresh
from app.identity.models import User
from app.identity.schemas import EmailAddress, PasswordChange
from app.identity.users import canonical_email
from app.limits.budget import costs
from app.limits.counting import limited
from app.limits.limit import Limit
from app.pagination import PageQuery
from app.tenants import team

pages = pages_of("account_pages", "/account")


class EmailForm(Form):
    email = EmailField("New e-mail address", [needed()], render_kw={"autocomplete": "email"})


class PasswordForm(Form):
    current_password = SecretField("Present password", [needed()], autocomplete="current-password")
    password = SecretField("New password", [needed()], autocomplete="new-password", description=NEW_PASSWORD)


@pages.get("")
@costs(20)
def show() -> ResponseReturnValue:
    user = current_membership().user
    cursor = request.args.get("cursor")
    page = PageQuery(limit=20, cursor=cursor) if cursor else PageQuery(limit=20)
    items, following = sessions.list_page(db.session(), user.id, page)
    codes_left = _recovery_codes_left(user)
    return render_template(
        "dashboard/account/show.html",
        user=user,
        codes_left=codes_left,
        sessions=items,
        following=following,
        present=current_session().id,
    )


def _recovery_codes_left(user: User) -> int | None:
    """None where they cannot be read: the page has what is needed to put that right."""
    try:
        return second_factor.recovery_codes_left(db.session(), user.id) if user.has_second_factor else 0
    except EncryptionError:
        return None


@pages.get("/email")
@costs(10)
@fresh
def show_email() -> ResponseReturnValue:
    return page_with(EmailForm(), "dashboard/account/email.html")


@pages.post("/email")
@costs(100)
@keeps_form(EmailForm, "dashboard/account/email.html")
@fresh
def change_email() -> ResponseReturnValue:
    form = EmailForm()
    if form.is_sent() and (given := form.read(EmailAddress, form.texts("email"))):
        try:
            email = canonical_email(given.email)
            throttle.count_mail(email, "own_account.request_email_change")
            accounts.request_email_change(db.session(), current_session().user_id, email)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            note(f"A mail is on its way to {email}. Your address changes when you use the link in it.")
            return redirect(url_for("account_pages.show"), 303)
    return page_with(form, "dashboard/account/email.html")


@pages.get("/password")
@costs(10)
@fresh
def show_password() -> ResponseReturnValue:
    return page_with(PasswordForm(), "dashboard/account/password.html")


@pages.post("/password")
@costs(100)
@keeps_form(PasswordForm, "dashboard/account/password.html")
@limited(Limit.SIGN_IN)
@fresh
def change_password() -> ResponseReturnValue:
    form, asking = PasswordForm(), current_session()
    if form.is_sent() and (read := form.read(PasswordChange, form.texts("current_password", "password"))):
        attempt, given = throttle.Attempt(asking.email, request.remote_addr), read.given()
        current, password = given["current_password"], given["password"]
        try:
            accounts.change_password(db.session(), current_membership(), attempt, current, password, keep=asking.id)
        except Unauthenticated as refusal:
            refusals.record(asking.email, refusal)
            form.complain([{"field": "current_password", "message": "is not right"}])
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            note("Your password is changed. You are signed out everywhere but here.")
            return redirect(url_for("account_pages.show"), 303)
    return page_with(form, "dashboard/account/password.html")


@pages.post("/sessions/<uuid:session_id>/end")
@costs(0)
def end_session(session_id: UUID) -> ResponseReturnValue:
    if not Form().is_sent():
        return _press_again()
    signing_out.end(db.session(), current_session().user_id, session_id)
    if session_id == current_session().id:
        return signed_out("You are signed out.")
    note("That session is signed out.")
    return redirect(url_for("account_pages.show"), 303)


@pages.post("/sessions/end-others")
@costs(0)
def end_other_sessions() -> ResponseReturnValue:
    if not Form().is_sent():
        return _press_again()
    signing_out.end_of_user(db.session(), current_session().user_id, keep=current_session().id)
    note("You are signed out everywhere but here.")
    return redirect(url_for("account_pages.show"), 303)


@pages.post("/sessions/end-all")
@costs(0)
def end_all_sessions() -> ResponseReturnValue:
    if not Form().is_sent():
        return _press_again()
    signing_out.end_of_user(db.session(), current_session().user_id)
    return signed_out("You are signed out everywhere.")


@pages.get("/leave")
@costs(0)
@fresh
def show_leave() -> ResponseReturnValue:
    return page_with(Form(), "dashboard/account/leave.html")


@pages.post("/leave")
@costs(0)
@fresh
def leave() -> ResponseReturnValue:
    form, me = Form(), current_membership()
    if form.is_sent():
        try:
            team.remove(db.session(), me, me.id)
        except Conflict as refusal:
            db.session.rollback()
            form.refuse(refusal)
        else:
            return signed_out(f"You have left {me.tenant.name}.")
    return page_with(form, "dashboard/account/leave.html")


def _press_again() -> ResponseReturnValue:
    """Back to where the button is, which did nothing."""
    warn_of_button()
    return redirect(url_for("account_pages.show"), 303)
