"""Proving who one is: on the page for it, or as a step between a form and what it does.

Such a step is sent to where the form was sent, with what was typed there in hidden fields, secrets excepted. Once it
is done, the view shows its form again, filled as before, and does nothing until that is sent: ``g.resumed``. Where
somebody else signs in, or to another tenant, what was typed is dropped: it is none of theirs.

Signing in takes up to three screens: address and password; the code of the second factor; the tenant, for a user of
several. What was proved so far is in the cookie for five minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from uuid import UUID

from flask import g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, RadioField, StringField

from app.dashboard import cookie
from app.dashboard.cookie import Pending
from app.dashboard.forms import SECRETS, Form, SecretField, needed, warn
from app.database import now
from app.errors import NotFresh, Problem, TooManyRequests, Unauthenticated
from app.extensions import db
from app.identity import refusals, second_factor, service, sessions, throttle
from app.identity.access import current_caller, current_membership, current_session
from app.identity.models import User
from app.identity.sessions import SignedIn
from app.limits import counting
from app.limits.limit import Limit

PREFIX: Final = "step-"
ORIGIN: Final = PREFIX + "of"  # a hidden field: the CSRF token of the form that waits for the step
TOO_LATE: Final = "That took too long, or your browser keeps no cookies: please start again."
NOT_KEPT: Final = (
    "You were about to send a form that somebody else had opened, or that was for another organisation. "
    "Nothing of it was saved."
)


class PasswordForm(Form):
    email = EmailField("E-mail address", [needed()], render_kw={"autocomplete": "username"})
    password = SecretField("Password", [needed()], autocomplete="current-password")


class CodeForm(Form):
    code = StringField(
        "Code",
        [needed()],
        description="Of your authenticator app, or one of your recovery codes.",
        render_kw={"autocomplete": "one-time-code", "spellcheck": "false"},
    )


class TenantForm(Form):
    tenant = RadioField("Sign in to", validate_choice=False)


class ProofForm(Form):
    password = SecretField("Password", [needed()], autocomplete="current-password")


class ProofWithCodeForm(ProofForm, CodeForm):
    pass


def sign_in(enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    """The next screen of signing in; or None once that is done, and the request is one of the user's.

    enter: what makes it one.
    """
    if g.get("resumed") or request.method == "GET":
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
    except Unauthenticated as refusal:  # the password was changed meanwhile, or the user disabled
        Pending.forget()
        form = PasswordForm(blank=True, prefix=PREFIX)
        form.refuse(refusal)
        answer = _show(form, HTTPStatus.UNAUTHORIZED)
    return answer


def is_proof() -> bool:
    """Whether the request is a step of somebody who is signed in already."""
    return request.method == "POST" and PREFIX + "password" in request.form and not g.get("resumed")


def ask_for_proof(refusal: NotFresh) -> ResponseReturnValue:
    """The step of somebody who is signed in, and has to prove once more who they are. Handles NotFresh on pages."""
    return _show(_proof_form(sent=False))


def proved() -> ResponseReturnValue | None:
    """None where the step just sent was right, and a form waits for it; else where to go on, or the step once more."""
    asking, form = current_session(), _proof_form(sent=True)
    attempt = throttle.Attempt(asking.email, request.remote_addr)
    if not form.validate():
        return _show(form)
    counting.count(Limit.SIGN_IN, counting.client_network())
    try:
        verified = service.authenticate(db.session(), attempt, form.text("password"))
        if verified.has_second_factor:
            attempt.count_code(db.session())
        user = service.require_unchanged(db.session(), verified)
        code = form.text("code") if isinstance(form, ProofWithCodeForm) else None
        told = second_factor.use_code(db.session(), user, code)
    except Unauthenticated as refusal:
        refusals.record(asking.email, refusal)
        form.refuse(_of_the_form(refusal, "The password is not right."))
        return _show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return _refuse_for_now(form, asking.email, refusal)
    attempt.succeeded(db.session())
    sessions.set_authenticated(db.session(), asking.id, told)
    g.caller = replace(current_caller(), session=asking._replace(authenticated_at=now()))
    return _resume()


def this_address() -> str:
    """The path and the query of this request."""
    return request.full_path.rstrip("?")


def safe_address(address: str | None, otherwise: str) -> str:
    """``address``, if it is a path of ours; nobody is led elsewhere by a link that leads here."""
    if address and address.startswith("/") and address.isprintable() and not address.startswith(("//", "/\\")):
        return address
    return otherwise


def _ask_password() -> ResponseReturnValue:
    form = PasswordForm(blank=True, prefix=PREFIX)
    if _has_step_fields():  # of a sign-in that nothing is known of any more
        form.complain([{"field": "", "message": TOO_LATE}])
    return _show(form)


def _take_password(enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    form = PasswordForm(prefix=PREFIX)
    if not form.validate():
        return _show(form)
    account = service.account_of(form.text("email"))
    attempt = throttle.Attempt(account, request.remote_addr)
    counting.count(Limit.SIGN_IN, counting.client_network())
    try:
        verified = service.authenticate(db.session(), attempt, form.text("password"))
        if not service.memberships_of(db.session(), verified.user_id):
            raise service.refused()
    except Unauthenticated as refusal:
        refusals.record(account, refusal)
        form.refuse(_of_the_form(refusal, "The e-mail address or the password is not right."))
        return _show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return _refuse_for_now(form, account, refusal)
    pending = Pending(
        verified.user_id,
        service.proof_of(verified.password_hash),
        account,
        attempt.counted,
        needs_code=verified.has_second_factor,
        recovery_code=False,
        until=now() + cookie.PENDING_EXPIRES,
    )
    if pending.needs_code:
        pending.keep()
        return _show(CodeForm(blank=True, prefix=PREFIX))
    return _choose_tenant(pending, enter)


def _take_code(pending: Pending, enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    form = CodeForm(prefix=PREFIX)
    if not form.validate():
        return _show(form)
    attempt = throttle.Attempt(pending.account, request.remote_addr, pending.counted)
    counting.count(Limit.SIGN_IN, counting.client_network())
    try:
        attempt.count_code(db.session())
        user = _user_of(pending)
        told = second_factor.use_code(db.session(), user, form.text("code"))
        db.session.commit()
    except second_factor.CodeRefused as refusal:
        refusals.record(pending.account, refusal)
        form.refuse(refusal)
        return _show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return _refuse_for_now(form, pending.account, refusal)
    done = pending._replace(counted=attempt.counted, needs_code=False, recovery_code=bool(told))
    return _choose_tenant(done, enter)


def _take_tenant(pending: Pending, enter: Callable[[SignedIn], None]) -> ResponseReturnValue | None:
    if pending.needs_code:
        return _show(CodeForm(blank=True, prefix=PREFIX))
    return _choose_tenant(pending, enter, request.form.get(PREFIX + "tenant"))


def _choose_tenant(
    pending: Pending, enter: Callable[[SignedIn], None], chosen: str | None = None
) -> ResponseReturnValue | None:
    """Begin the session, in the only tenant there is, in the chosen one, or, to go on with a form, in the one where
    that was begun; else ask."""
    choices = service.memberships_of(db.session(), pending.user_id)
    owner = cookie.owner_of(_origin())
    going_on = owner.tenant_id if owner and owner.user_id == pending.user_id else None
    matching = [one for one in choices if chosen == one.subdomain or going_on == one.tenant_id]
    if len(choices) != 1 and len(matching) != 1:
        pending.keep()
        form = TenantForm(blank=True, prefix=PREFIX)
        form.tenant.choices = [(one.subdomain, one.tenant_name) for one in choices]
        form.tenant.data = choices[0].subdomain if choices else None
        return _show(form)
    membership_id, tenant_id = (matching or choices)[0][:2]
    user = _user_of(pending)
    throttle.Attempt(pending.account, request.remote_addr, pending.counted).succeeded(db.session())
    details = {"recovery_code": True} if pending.recovery_code else {}
    cookie.sign_in(user, tenant_id, membership_id, details)
    if _form_waits() and not is_form_of(pending.user_id, tenant_id):
        return drop_form()
    found = cookie.find()
    if found is None:
        raise service.refused()
    enter(found)
    g.resumed = True
    return None


def _user_of(pending: Pending) -> User:
    """Raises Unauthenticated if the password is another one by now."""
    return service.recall(db.session(), pending.user_id, pending.proof)


def _proof_form(*, sent: bool) -> ProofForm:
    kind = ProofWithCodeForm if current_membership().user.has_second_factor else ProofForm
    return kind(blank=not sent, prefix=PREFIX)


def _resume() -> ResponseReturnValue | None:
    """A view that only shows something is asked for by its address, so that the page can be loaded again."""
    if not kept_fields():
        return redirect(this_address(), 303)
    g.resumed = True
    return None


def is_form_of(user_id: UUID, tenant_id: UUID) -> bool:
    """Whether the form that was sent, or waits for a step, was shown to that user in that tenant."""
    token = _origin() or request.form.get(PREFIX + "csrf_token") or ""
    return cookie.owner_of(token) == (user_id, tenant_id)


def drop_form() -> ResponseReturnValue:
    """Where to go on instead of with a form of somebody else, or of another tenant."""
    warn(NOT_KEPT)
    return redirect(url_for("overview.show"), 303)


def _form_waits() -> bool:
    return bool(_origin() or kept_fields())


def _origin() -> str:
    """The CSRF token of the form that was sent, or waits for a step; an empty text where there is none."""
    return request.form.get(ORIGIN) or request.form.get("csrf_token") or ""


def kept_fields() -> Sequence[tuple[str, str]]:
    """What was typed into the form that waits for the step: names and values."""
    return [
        (name, value)
        for name, value in request.form.items(multi=True)
        if not name.startswith(PREFIX) and not name.endswith("csrf_token") and name not in SECRETS
    ]


def _has_step_fields() -> bool:
    return any(name.startswith(PREFIX) and name not in (ORIGIN, PREFIX + "csrf_token") for name in request.form)


def _of_the_form(refusal: Unauthenticated, sentence: str) -> Problem:
    """In the words of the form, where the API's speak of what it was sent."""
    return refusal if refusal.errors else Unauthenticated(sentence)


def _refuse_for_now(form: Form, account: str, refusal: TooManyRequests) -> ResponseReturnValue:
    refusals.record_lock_out(account)
    form.refuse(refusal)
    answer = make_response(_show(form, HTTPStatus.TOO_MANY_REQUESTS))
    answer.headers.update(refusal.headers)
    return answer


def _show(form: Form, status: HTTPStatus = HTTPStatus.OK) -> tuple[str, int]:
    screen = {PasswordForm: "password", CodeForm: "code", TenantForm: "tenant"}.get(type(form), "proof")
    waiting = {"kept": kept_fields(), "origin": _origin(), "origin_name": ORIGIN}
    return render_template(f"dashboard/steps/{screen}.html", form=form, action=this_address(), **waiting), status
