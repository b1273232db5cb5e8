"""Who may use a page: one of these functions is declared beside each blueprint of pages.

Somebody who is not signed in is asked to be, and comes back to where they wanted to go: see
:mod:`app.dashboard.steps`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import UnsupportedMediaType

from app.audit.actors import Actor, act_as
from app.dashboard import cookie, proof, signing_in, steps
from app.dashboard.extensions import csrf
from app.database import SAFE_METHODS
from app.errors import Forbidden
from app.extensions import db
from app.identity import sessions
from app.identity.access import Caller, require_owner, require_owner_or_admin
from app.identity.sessions import SignedIn
from app.limits import budget, counting
from app.limits.limit import Limit
from app.tenancy import enter_tenant_scope
from app.web import has_body

LIVE: Final = "X-Live"  # sent by what keeps a part of a page up to date: see static/dashboard.js
FORM: Final = "application/x-www-form-urlencoded"
MOST_BYTES: Final = 128 * 1024  # of a form: the longest secret takes a tenth of it
OF_ANOTHER_SITE: Final = "This form was not sent from a page of ours. Nothing was done."


def public_page() -> None:
    """Anybody."""
    request.max_content_length = MOST_BYTES
    counting.count(Limit.API, counting.client_network())
    _check_form()


def way_out() -> None:
    """Anybody, however much they ask for, and also while nothing can be counted: nobody is kept from signing out."""
    request.max_content_length = MOST_BYTES
    _check_form()


def _check_form() -> None:
    """Raise for what is no form, or none of a page of ours."""
    if request.method in SAFE_METHODS:
        return
    refuse_other_sites()
    if has_body() and request.mimetype != FORM:
        raise UnsupportedMediaType("Forms are sent as application/x-www-form-urlencoded.")
    _check_csrf_token()


def page() -> ResponseReturnValue | None:
    """Members of a tenant, who are signed in with this browser."""
    public_page()
    found = cookie.find()
    if found is not None:
        enter(found)
        if g.get("resumed") and not steps.is_form_of(found.user_id, found.tenant_id):
            return steps.drop_form()
        return proof.proved() if proof.is_proof() else None
    if request.method in SAFE_METHODS:
        return redirect(url_for("sign_in.show", next=steps.this_address()), 303)
    return signing_in.sign_in(enter)


def page_for_owners_and_admins() -> ResponseReturnValue | None:
    """Owners and admins of a tenant."""
    answer = page()
    if "caller" in g:
        require_owner_or_admin()
    return answer


def page_for_owners() -> ResponseReturnValue | None:
    """Owners of a tenant."""
    answer = page()
    if "caller" in g:
        require_owner()
    return answer


def enter(found: SignedIn) -> None:
    """From here on the request is one of ``found``."""
    g.caller = Caller(found.tenant_id, found.role, session=found)
    enter_tenant_scope(found.tenant_id)
    act_as(Actor("user", found.user_id, found.email))
    if LIVE not in request.headers:  # nobody's hand: a page that is left open does not keep its session
        sessions.note_use(db.session(), found)
    budget.spend_for(found.tenant_id)


def refuse_other_sites() -> None:
    """Raise Forbidden for what a page of another site made the browser ask for. Browsers say whence it comes (Fetch
    Metadata); those that do not, and do not say in ``Origin`` either, are none, or too old for the rest of these
    pages."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        site = "same-origin" if origin is None or _host_of(origin) == request.host else "cross-site"
    if site not in ("same-origin", "none"):
        raise Forbidden(OF_ANOTHER_SITE)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _check_csrf_token() -> None:
    """A form of an earlier session of the same user in the same tenant is shown again instead of refused: nothing that
    was typed is lost, and nothing is done that was not sent from a page of this session."""
    try:
        csrf.protect()
    except CSRFError:
        g.resumed = True
