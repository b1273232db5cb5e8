"""A step between a form and what it does: signing in again (:mod:`signing_in`), or proving once more who one is
(:mod:`proof`).

Such a step is sent to where the form was sent, with what was typed there in hidden fields, secrets excepted. Once it
is done, the view shows its form again, filled as before, and does nothing until that is sent: ``g.resumed``. Where
somebody else signs in, or to another tenant, what was typed is dropped: it is none of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice
from typing import ClassVar, Final
from uuid import UUID

from flask import make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField

from app.dashboard import cookie
from app.dashboard.forms import SECRETS, Form, needed, warn
from app.dashboard.navigation import address_of
from app.errors import Problem, TooManyRequests, Unauthenticated
from app.identity import refusals
from app.limits import counting
from app.limits.limit import Limit

PREFIX: Final = "step-"
MOST_FIELDS: Final = 50
ORIGIN: Final = PREFIX + "of"  # a hidden field: the CSRF token of the form that waits for the step
NOT_KEPT: Final = (
    "You were about to send a form that somebody else had opened, or that was for another organisation. "
    "Nothing of it was saved."
)


class StepForm(Form):
    """What a step asks for. ``screen``: the template that shows it."""

    screen: ClassVar[str]

    def __init__(self, *, blank: bool = False) -> None:
        super().__init__(blank=blank, prefix=PREFIX)


class CodeForm(StepForm):
    screen = "code"

    code = StringField(
        "Code",
        [needed()],
        description="Of your authenticator app, or one of your recovery codes.",
        render_kw={"autocomplete": "one-time-code", "spellcheck": "false"},
    )


def this_address() -> str:
    """The path and the query of this request."""
    return request.full_path.rstrip("?")


def is_form_of(user_id: UUID, tenant_id: UUID) -> bool:
    """Whether the form that was sent, or waits for a step, was shown to that user in that tenant."""
    token = origin() or request.form.get(PREFIX + "csrf_token") or ""
    return cookie.owner_of(token) == (user_id, tenant_id)


def drop_form() -> ResponseReturnValue:
    """Where to go on instead of with a form of somebody else, or of another tenant."""
    warn(NOT_KEPT)
    return redirect(url_for("overview.show"), 303)


def form_waits() -> bool:
    """Whether there is a form to come back to."""
    return bool(origin() or kept_fields())


def origin() -> str:
    """The CSRF token of the form that was sent, or waits for a step; an empty text where there is none."""
    return request.form.get(ORIGIN) or request.form.get("csrf_token") or ""


def kept_fields() -> Sequence[tuple[str, str]]:
    """What was typed into the form that waits for the step: names and values, of no more fields than a form of ours
    has."""
    fields = (
        (name, value)
        for name, value in request.form.items(multi=True)
        if not name.startswith(PREFIX) and not name.endswith("csrf_token") and name not in SECRETS
    )
    return list(islice(fields, MOST_FIELDS))


def is_step() -> bool:
    """Whether the request has fields of a step."""
    return any(name.startswith(PREFIX) and name not in (ORIGIN, PREFIX + "csrf_token") for name in request.form)


def of_the_form(refusal: Unauthenticated, sentence: str) -> Problem:
    """In the words of the form, where the API's speak of what it was sent."""
    return refusal if refusal.errors else Unauthenticated(sentence)


def count_attempt(form: StepForm) -> ResponseReturnValue | None:
    """Count one more attempt to sign in from the client's address. None, or the step once more if there were too
    many."""
    try:
        counting.count(Limit.SIGN_IN, counting.client_network())
    except TooManyRequests as refusal:
        return _refused(form, refusal)
    return None


def refuse_for_now(form: StepForm, account: str, refusal: TooManyRequests) -> ResponseReturnValue:
    """The step once more, after too many attempts at that account."""
    refusals.record_lock_out(account)
    return _refused(form, refusal)


def _refused(form: StepForm, refusal: TooManyRequests) -> ResponseReturnValue:
    form.refuse(refusal)
    answer = make_response(show(form, HTTPStatus.TOO_MANY_REQUESTS))
    answer.headers.update(refusal.headers)
    return answer


def show(form: StepForm, status: HTTPStatus = HTTPStatus.OK) -> tuple[str, int]:
    """The step, with what waits for it."""
    waiting = {"kept": kept_fields(), "origin": origin(), "origin_name": ORIGIN, "cancel": _way_out()}
    template = f"dashboard/steps/{form.screen}.html"
    return render_template(template, form=form, action=this_address(), **waiting), status


def _way_out() -> str:
    """Where to go for who does not take the step: to where the pages of this kind begin. The very page might ask for
    the same step again."""
    return address_of(request.blueprint or "")
