"""In and out."""

from __future__ import annotations

import logging
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.dashboard import cookie
from app.dashboard.access import enter
from app.dashboard.forms import note
from app.dashboard.pages import pages_of
from app.dashboard.signing_in import sign_in
from app.errors import DatabaseFailed, NotFound, Unavailable
from app.extensions import db
from app.identity import signing_out

log = logging.getLogger(__name__)

pages = pages_of("sign_in")
out = pages_of("sign_out")

FORGET_PAGES: Final = {"Clear-Site-Data": '"cache"'}  # going back shows nothing of what was seen


@pages.get("/sign-in")
def show() -> ResponseReturnValue:
    return _go_on() if cookie.find() else (sign_in(enter) or _go_on())


@pages.post("/sign-in")
def send() -> ResponseReturnValue:
    return sign_in(enter) or _go_on()


@out.post("/sign-out")
def send_out() -> ResponseReturnValue:
    """Also for whoever is signed out already, in another tab. Whatever happens, the cookie goes."""
    try:
        found = cookie.find()
        if found is not None:
            enter(found)
            with suppress(NotFound):  # it was ended in this very moment
                signing_out.end(db.session(), found.user_id, found.id)
    except DatabaseFailed as error:
        log.error("a session was left open at sign-out: %s", type(error).__name__)
        raise LeftOpen from None
    finally:
        cookie.sign_out()
    return signed_out("You are signed out.")


class LeftOpen(Unavailable):
    """The browser has forgotten the session, which the database could not end."""

    headers = MappingProxyType(FORGET_PAGES)  # not when to try again: without the cookie it would seem to succeed

    def __init__(self) -> None:
        super().__init__(
            "You are signed out in this browser. The session could not be ended, though: sign in again later, "
            "and end it under “Your account”."
        )


def signed_out(message: str) -> ResponseReturnValue:
    """Where to go once the browser's session has ended."""
    cookie.sign_out()
    note(message)
    response = redirect(url_for("sign_in.show"), 303)
    response.headers.update(FORGET_PAGES)
    return response


def _go_on() -> ResponseReturnValue:
    """Where whoever is signed in wanted to go."""
    return redirect(safe_address(request.args.get("next"), url_for("overview.show")), 303)


def safe_address(address: str | None, otherwise: str) -> str:
    """``address``, if it is a path of ours; nobody is led elsewhere by a link that leads here."""
    if address and address.startswith("/") and address.isprintable() and not address.startswith(("//", "/\\")):
        return address
    return otherwise
