"""Signing in: on the page for it, or as a step wherever a session has ended.

It takes up to three screens: address and password; the code of the second factor; the tenant, for a user of several.
What was proved so far is in the cookie for five minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from flask import g, request
from flask.typing import ResponseReturnValue
from wtforms import EmailField, RadioField

from app.dashboard import cookie
from app.dashboard.cookie import Pending
from app.dashboard.forms import SecretField, needed
from app.dashboard.steps import (
    PREFIX,
    CodeForm,
    StepForm,
    count_attempt,
    drop_form,
    form_waits,
    is_form_of,
    is_step,
    of_the_form,
    origin,
    refuse_for_now,
    show,
)
from app.database import SAFE_METHODS, now, uuid7
from app.errors import TooManyRequests, Unauthenticated
from app.extensions import db
from app.identity import authentication, refusals, second_factor, throttle
from app.identity.models import User
from app.identity.schemas import Confirmation, Credentials
from app.identity.sessions import SignedIn
from app.identity.trail import record_for_each_tenant

AGAIN: Final = "Please sign in again."
TOO_LATE: Final = "That took too long, or {why}: please start again."


class PasswordForm(StepForm):
    screen = "password"

    email = EmailField("E-mail address", [needed()], render_kw={"autocomplete": "username"})
    password = SecretField("Password", [needed()], autocomplete="current-password")


class TenantForm(StepForm):
    screen = "tenant"

    tenant = RadioField("Sign in to", validate_choice=False)


def sign_in(enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    """The next screen of signing in; or None once that is done, and the request is one of the user's.

    enter: what makes it one.
    """
    if g.get("resumed") or request.method in SAFE_METHODS:
        return _ask_password()
    pending = Pending.recall()
    try:
        if PREFIX + "email" in request.form:
            answer = _take_password(enter)
        elif pending is None:
            answer = _ask_password()
        elif PREFIX + "code" in request.form:
            answer = _take_code(pending, enter)
        else:
            answer = _take_tenant(pending, enter)
    except Unauthenticated:  # the password was changed meanwhile, say, or the user signed out everywhere, or disabled
        Pending.forget()
        form = PasswordForm(blank=True)
        form.complain([{"field": "", "message": AGAIN}])
        answer = show(form, HTTPStatus.UNAUTHORIZED)
    return answer


def _ask_password() -> ResponseReturnValue:
    form = PasswordForm(blank=True)
    if is_step():  # of a sign-in that nothing is known of any more
        form.complain([{"field": "", "message": TOO_LATE.format(why=cookie.why_missing())}])
    return show(form)


def _take_password(enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    form = PasswordForm()
    given = form.read(Credentials, form.texts("email", "password")) if form.validate() else None
    if given is None:
        return show(form)
    if too_many := count_attempt(form):
        return too_many
    account = authentication.account_of(given.email)
    attempt = throttle.Attempt(account, request.remote_addr)
    try:
        verified = authentication.authenticate(db.session(), attempt, given.password.get_secret_value())
        if not authentication.memberships_of(db.session(), verified.user_id):
            raise authentication.refused()
    except Unauthenticated as refusal:
        refusals.record(account, refusal)
        form.refuse(of_the_form(refusal, "The e-mail address or the password is not right."))
        return show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return refuse_for_now(form, account, refusal)
    pending = Pending(
        verified.user_id,
        authentication.proof_of(verified),
        account,
        attempt.counted,
        needs_code=verified.has_second_factor,
        recovery_code=False,
        session_id=uuid7(),
        until=now() + cookie.PENDING_EXPIRES,
    )
    if pending.needs_code:
        return _go_on_asking(pending, CodeForm(blank=True))
    return _choose_tenant(pending, enter)


def _go_on_asking(pending: Pending, form: StepForm) -> ResponseReturnValue:
    """The next screen, for somebody whose password was right: the audit trail has it, should they come no further."""
    pending.keep()
    record_for_each_tenant(db.session(), "session.password_accepted", pending.user_id)
    db.session.commit()
    return show(form)


def _take_code(pending: Pending, enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    form = CodeForm()
    given = form.read(Confirmation, form.texts("code")) if form.validate() else None
    if given is None:
        return show(form)
    if too_many := count_attempt(form):
        return too_many
    attempt = throttle.Attempt(pending.account, request.remote_addr, pending.counted)
    try:
        attempt.count_code(db.session())
        user = _user_of(pending)
        told = second_factor.use_code(db.session(), user, given.code.get_secret_value())
        db.session.commit()
    except second_factor.CodeRefused as refusal:
        refusals.record(pending.account, refusal)
        form.refuse(refusal)
        return show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return refuse_for_now(form, pending.account, refusal)
    done = pending._replace(counted=attempt.counted, needs_code=False, recovery_code=bool(told))
    return _choose_tenant(done, enter)


def _take_tenant(pending: Pending, enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    if pending.needs_code:
        return show(CodeForm(blank=True))
    return _choose_tenant(pending, enter, request.form.get(PREFIX + "tenant"))


def _choose_tenant(
    pending: Pending, enter: Callable[[SignedIn], None], chosen: str | None = None
) -> ResponseReturnValue | None:
    """Begin the session, in the only tenant there is, in the chosen one, or, to go on with a form, in the one where
    that was begun; else ask."""
    choices = authentication.memberships_of(db.session(), pending.user_id)
    if not choices:
        raise authentication.refused()
    owner = cookie.owner_of(origin())
    going_on = owner.tenant_id if owner and owner.user_id == pending.user_id else None
    matching = [one for one in choices if chosen == one.subdomain or going_on == one.tenant_id]
    if len(choices) != 1 and len(matching) != 1:
        form = TenantForm(blank=True)
        form.tenant.choices = [(one.subdomain, one.tenant_name) for one in choices]
        form.tenant.data = choices[0].subdomain
        return _go_on_asking(pending, form)
    membership_id, tenant_id = (matching or choices)[0][:2]
    user = _user_of(pending)
    throttle.Attempt(pending.account, request.remote_addr, pending.counted).succeeded(db.session())
    details = {"recovery_code": True} if pending.recovery_code else {}
    cookie.sign_in(user, tenant_id, membership_id, details, session_id=pending.session_id)
    if form_waits() and not is_form_of(pending.user_id, tenant_id):
        return drop_form()
    found = cookie.find()
    if found is None:
        raise authentication.refused()
    enter(found)
    g.resumed = True
    return None


def _user_of(pending: Pending) -> User:
    """Raises Unauthenticated if the password is another one by now."""
    return authentication.recall(db.session(), pending.user_id, pending.proof)
