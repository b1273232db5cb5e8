"""Proving once more who one is, for whoever is signed in: before a secret is changed, say, or anything is deleted."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from flask import g, redirect, request
from flask.typing import ResponseReturnValue

from app.dashboard.forms import SecretField, needed
from app.dashboard.steps import (
    PREFIX,
    CodeForm,
    StepForm,
    count_attempt,
    form_waits,
    of_the_form,
    refuse_for_now,
    show,
    this_address,
)
from app.database import now
from app.errors import NotFresh, TooManyRequests, Unauthenticated
from app.extensions import db
from app.identity import authentication, refusals, second_factor, sessions, throttle
from app.identity.access import current_caller, current_membership, current_session
from app.identity.schemas import Proof


class ProofForm(StepForm):
    screen = "proof"

    password = SecretField("Password", [needed()], autocomplete="current-password")


class ProofWithCodeForm(ProofForm, CodeForm):
    screen = "proof"


def is_proof() -> bool:
    """Whether the request is a step of somebody who is signed in already."""
    return request.method == "POST" and PREFIX + "password" in request.form and not g.get("resumed")


def ask_for_proof(refusal: NotFresh) -> ResponseReturnValue:
    """The step of somebody who is signed in, and has to prove once more who they are. Handles NotFresh on pages."""
    return show(_proof_form(sent=False))


def proved() -> ResponseReturnValue | None:
    """None where the step just sent was right, and a form waits for it; else where to go on, or the step once more."""
    asking, form = current_session(), _proof_form(sent=True)
    names = ("password", "code") if isinstance(form, ProofWithCodeForm) else ("password",)
    given = form.read(Proof, form.texts(*names)) if form.validate() else None
    if given is None:
        return show(form)
    if too_many := count_attempt(form):
        return too_many
    attempt = throttle.Attempt(asking.email, request.remote_addr)
    try:
        verified = authentication.authenticate(db.session(), attempt, given.password.get_secret_value())
        if verified.has_second_factor:
            attempt.count_code(db.session())
        user = authentication.require_unchanged(db.session(), verified)
        code = given.code.get_secret_value() if given.code is not None else None
        told = second_factor.use_code(db.session(), user, code)
    except Unauthenticated as refusal:
        refusals.record(asking.email, refusal)
        form.refuse(of_the_form(refusal, "The password is not right."))
        return show(form, HTTPStatus.UNAUTHORIZED)
    except TooManyRequests as refusal:
        return refuse_for_now(form, asking.email, refusal)
    attempt.succeeded(db.session())
    sessions.set_authenticated(db.session(), asking.id, told)
    g.caller = replace(current_caller(), session=asking._replace(authenticated_at=now()))
    return _resume()


def _proof_form(*, sent: bool) -> ProofForm:
    kind = ProofWithCodeForm if current_membership().user.has_second_factor else ProofForm
    return kind(blank=not sent)


def _resume() -> ResponseReturnValue | None:
    """A view that only shows something is asked for by its address, so that the page can be loaded again."""
    if not form_waits():
        return redirect(this_address(), 303)
    g.resumed = True
    return None
