"""What mailed links lead to, and asking for one by those who cannot sign in.

The token stands after the ``#`` of the link, where no server sees it. The page's script puts it into a form and sends
that; without it, people paste the link. The answer says what the link is about, and the form there does it: neither a
mail scanner nor a glance uses a link up. No address of ours has the token in it.
"""

from __future__ import annotations

from typing import Any, Final, cast

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, HiddenField, StringField

from app.dashboard import cookie
from app.dashboard.access import enter
from app.dashboard.forms import EMPTY, Form, SecretField, needed, note
from app.dashboard.pages import keeps_form, page_with, pages_of
from app.errors import Conflict, Invalid
from app.extensions import db
from app.identity import accounts, throttle
from app.identity.models import Membership
from app.identity.one_time import LinkNotValid
from app.identity.passwords import SHORTEST
from app.identity.schemas import EmailAddress, TokenAndPassword
from app.identity.users import canonical_email
from app.limits.counting import limited
from app.limits.limit import Limit
from app.tenants import invitations
from app.tenants.schemas import Confirmation

pages = pages_of("links")

NEW_PASSWORD: Final = f"At least {SHORTEST} characters: a few words are easy to remember and hard to guess."


class LinkForm(Form):
    """Sent by the script, or by whoever pastes the link."""

    token = StringField(
        "The link from the mail",
        [needed()],
        description="Copy it from the mail, in full.",
        render_kw={"data-link-token": "", "autocomplete": "off", "spellcheck": "false"},
    )


class UseForm(Form):
    """Does what the link is for."""

    token = HiddenField()
    understood = HiddenField(default="yes")  # tells it from LinkForm


class PasswordForm(UseForm):
    password = SecretField("New password", [needed()], autocomplete="new-password", description=NEW_PASSWORD)


class JoiningForm(UseForm):
    """password: of an account that is opened by this; taken out for whoever has one."""

    password = SecretField("Choose a password", [needed()], autocomplete="new-password", description=NEW_PASSWORD)


class ForgottenForm(Form):
    email = EmailField("E-mail address", [needed()], render_kw={"autocomplete": "username"})


def sent_token() -> str:
    """The token that was sent, by itself or in its link; an empty text for none."""
    return request.form.get("token", "").strip().rpartition("#")[2]


def is_understood(form: UseForm) -> bool:
    """Whether to do what the link is for: who sent it was told what that is."""
    return "understood" in request.form and form.is_sent()


def ask_for_link(title: str) -> ResponseReturnValue:
    """The page that a link leads to."""
    form = LinkForm()
    if request.method == "POST":  # without a token
        form.complain([{"field": "token", "message": EMPTY}])
    return page_with(form, "dashboard/links/link.html", title=title)


def use_form(kind: type[UseForm], token: str) -> UseForm:
    """The form that does what the link is for, as it was sent, or to be shown for the first time."""
    form = kind(blank="understood" not in request.form)
    form.token.data = token
    return form


def joining_form(kind: type[JoiningForm], token: str, has_account: bool) -> JoiningForm:
    """As :func:`use_form`, without a password for who has an account."""
    form = cast(JoiningForm, use_form(kind, token))
    if has_account:
        del form.password
    return form


def typed(form: Form, *names: str) -> dict[str, Any]:
    """The values of those of the fields that the form has."""
    return form.texts(*(name for name in names if name in form))


def about_to_sign_out(has_account: bool) -> str | None:
    """The address of whoever is signed in with this browser, and will not be once an account was opened by a link; None
    for nobody. Ends the transaction."""
    db.session.rollback()
    found = None if has_account else cookie.find()
    return found.email if found is not None else None


def link_not_valid(refusal: LinkNotValid) -> ResponseReturnValue:
    """Handles LinkNotValid on pages."""
    return render_template("dashboard/links/not_valid.html"), refusal.status


def joined(membership: Membership, had_account: bool) -> ResponseReturnValue:
    """Where to go on for a new member of a tenant. Whoever has chosen a password just now is signed in by that."""
    user, tenant = membership.user, membership.tenant
    if not had_account:
        cookie.sign_in(user, tenant.id, membership.id)
        note(f"Welcome to AudiaPro. You are signed in to {tenant.name}.")
        return redirect(url_for("overview.show"), 303)
    return lead_on(user.email, "tenants_pages.show_list", f"{user.email} belongs to {tenant.name} now.")


def lead_on(email: str, own_page: str, message: str) -> ResponseReturnValue:
    """Where to go on after a link of that user: to ``own_page`` for who is signed in with this browser, to sign in for
    nobody, and for somebody else to where they are told so. message: what was done."""
    found = cookie.find()
    if found is None:
        cookie.sign_out()  # the message is none of the session that has ended
    note(message)
    if found is None:
        return redirect(url_for("sign_in.show"), 303)
    return redirect(url_for(own_page if found.email == email else "links.show_somebody_else"), 303)


pages.register_error_handler(LinkNotValid, link_not_valid)


@pages.get("/mail-sent")
def mail_sent() -> ResponseReturnValue:
    return render_template("dashboard/links/mail_sent.html")


@pages.get("/somebody-else")
def show_somebody_else() -> ResponseReturnValue:
    """After a link of one user was used where another is signed in, who stays that."""
    found = cookie.find()
    if found is None:
        return redirect(url_for("sign_in.show"), 303)
    enter(found)
    return render_template("dashboard/links/somebody_else.html", email=found.email)


@pages.get("/forgot-password")
def show_forgot_password() -> ResponseReturnValue:
    return page_with(ForgottenForm(), "dashboard/links/forgot_password.html")


@pages.post("/forgot-password")
@keeps_form(ForgottenForm, "dashboard/links/forgot_password.html")
@limited(Limit.ACCOUNT_MAIL)
def forgot_password() -> ResponseReturnValue:
    """The same answer whether or not there is an account."""
    form = ForgottenForm()
    if form.is_sent() and (given := form.read(EmailAddress, form.texts("email"))):
        try:
            throttle.count_mail(canonical_email(given.email), "password_reset.request_reset")
            accounts.request_reset(db.session(), given.email)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return redirect(url_for("links.mail_sent"), 303)
    return page_with(form, "dashboard/links/forgot_password.html")


@pages.get("/reset-password")
def show_reset_password() -> ResponseReturnValue:
    return ask_for_link("Set a new password")


@pages.post("/reset-password")
@limited(Limit.ACCOUNT_TOKEN)
def reset_password() -> ResponseReturnValue:
    token = sent_token()
    if not token:
        return show_reset_password()
    email = accounts.look_up_reset(db.session(), token)
    form = use_form(PasswordForm, token)
    if is_understood(form) and (given := form.read(TokenAndPassword, form.texts("token", "password"))):
        try:
            accounts.reset_password(db.session(), token, given.given()["password"], request.remote_addr)
        except LinkNotValid:
            raise
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return lead_on(email, "sign_in.show", f"The password of {email} is changed. Sign in with it.")
    return page_with(form, "dashboard/links/reset_password.html", email=email)


@pages.get("/verify-email")
def show_verify_email() -> ResponseReturnValue:
    return ask_for_link("Change your e-mail address")


@pages.post("/verify-email")
@limited(Limit.ACCOUNT_TOKEN)
def verify_email() -> ResponseReturnValue:
    token = sent_token()
    if not token:
        return show_verify_email()
    change = accounts.look_up_email_change(db.session(), token)
    form = use_form(UseForm, token)
    if is_understood(form):
        try:
            accounts.change_email(db.session(), token)
        except Conflict as refusal:
            form.refuse(refusal)
        else:
            message = f"The e-mail address is {change.new} now: sign in with it from now on."
            return lead_on(change.new, "account_pages.show", message)
    return page_with(form, "dashboard/links/verify_email.html", change=change)


@pages.get("/accept-invitation")
def show_accept_invitation() -> ResponseReturnValue:
    return ask_for_link("Accept the invitation")


@pages.post("/accept-invitation")
@limited(Limit.ACCOUNT_TOKEN)
def accept_invitation() -> ResponseReturnValue:
    token = sent_token()
    if not token:
        return show_accept_invitation()
    invitation = invitations.look_up(db.session(), token)
    form = joining_form(JoiningForm, token, invitation.has_account)
    if is_understood(form) and (given := form.read(Confirmation, typed(form, "token", "password"))):
        try:
            membership = invitations.accept(db.session(), token, given.given().get("password"))
        except LinkNotValid:
            raise
        except (Invalid, Conflict) as refusal:
            form.refuse(refusal)
        else:
            return joined(membership, invitation.has_account)
    signs_out = about_to_sign_out(invitation.has_account)
    return page_with(form, "dashboard/links/invitation.html", invitation=invitation, signs_out=signs_out)
