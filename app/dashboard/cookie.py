"""The browser's cookie: which session of the user it belongs to, the CSRF token, and messages for the next page.

It is signed, not encrypted, and holds no secret. That a session lasts is decided in the database, with every request:
see :mod:`app.identity.sessions`. No token of the API is accepted here, nor the cookie there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from flask import Flask, current_app, g, request, session
from itsdangerous import BadData, URLSafeTimedSerializer

from app.audit.actors import Actor, act_as
from app.database import now
from app.errors import NotFound, Unauthenticated
from app.extensions import db
from app.identity import authentication, sessions, signing_out
from app.identity.models import User
from app.identity.sessions import SignedIn
from app.tenancy import tenant_scope

PENDING_EXPIRES: Final = timedelta(minutes=5)

_SALT_OF_FLASK_WTF: Final = "wtf-csrf-token"
_SUBJECT: Final = "subject"
_PENDING: Final = "pending"
_CSRF_TOKEN: Final = "csrf_token"


def init_app(app: Flask, *, https_only: bool) -> None:
    """https_only: send the cookie over TLS alone. Not where a developer tries things without: some browsers would not
    take it then."""
    app.config.from_mapping(
        # The prefix lets browsers refuse such a cookie from a subdomain, from another path or without TLS.
        SESSION_COOKIE_NAME="__Host-audiapro" if https_only else "audiapro",
        SESSION_COOKIE_SECURE=https_only,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",  # a link in a mail leads to where one is signed in
        SESSION_COOKIE_PATH="/",
        WTF_CSRF_CHECK_DEFAULT=False,  # the API has tokens instead: see app/dashboard/access.py
        WTF_CSRF_TIME_LIMIT=None,  # as long as the cookie
        WTF_CSRF_SSL_STRICT=False,  # browsers say whence they send a form: see app/dashboard/access.py
    )


def why_missing() -> str:
    """Why a browser does not send the cookie that it was given a moment ago, for a sentence to its user."""
    https_only = current_app.config["SESSION_COOKIE_SECURE"]
    return "your browser keeps no cookies" + (", or this address does not begin with https://" if https_only else "")


def sign_in(
    user: User,
    tenant_id: UUID,
    membership_id: UUID,
    details: Mapping[str, Any] | None = None,
    continues: SignedIn | None = None,
    session_id: UUID | None = None,
) -> None:
    """Begin a session of a member, and make it the cookie's. Ends the one that the cookie was of; what else it held is
    forgotten, the CSRF token and notes too. No transaction about another tenant may be open.

    details, continues, session_id: see :func:`app.identity.sessions.start`. Raises
    :class:`~app.errors.Unauthenticated` for who is no member any more.
    """
    owner = Owner(user.id, tenant_id)
    with tenant_scope(tenant_id):
        act_as(Actor("user", user.id, user.email))
        membership = authentication.get_membership(db.session(), membership_id)
        browser = request.user_agent.string
        started = sessions.start(db.session(), membership, request.remote_addr, browser, details, continues, session_id)
        subject = [str(owner.user_id), str(owner.tenant_id), str(started.id)]
    _end_session()
    session.clear()
    session[_SUBJECT], session[_CSRF_TOKEN] = subject, new_csrf_token(owner)
    g.pop(_CSRF_TOKEN, None)  # the former one, which a form in the answer to this very request would still get


def _end_session() -> None:
    """The cookie's, where it has not ended."""
    found = find()
    if found is None:
        return
    with tenant_scope(found.tenant_id):
        act_as(Actor("user", found.user_id, found.email))
        try:
            signing_out.end(db.session(), found.user_id, found.id)
        except NotFound:  # in this very moment
            db.session.rollback()


def sign_out() -> None:
    """Forget everything."""
    session.clear()


def session_id() -> str:
    """Of the session that it names, which may have ended; an empty text for none."""
    return str(session[_SUBJECT][2]) if _SUBJECT in session else ""


def find() -> SignedIn | None:
    """Whose cookie it is; None for nobody who is signed in any more."""
    try:
        user_id, tenant_id, session_id = (UUID(text) for text in session[_SUBJECT])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    with tenant_scope(tenant_id):
        try:
            found = sessions.find(db.session(), user_id, tenant_id, session_id)
        except Unauthenticated:
            db.session.rollback()
            return None
    return found._replace(tenant_id=tenant_id)  # the very scope of the transaction: it need not be set again


class Owner(NamedTuple):
    """Whom a form was shown to, and in which tenant."""

    user_id: UUID
    tenant_id: UUID


def new_csrf_token(owner: Owner) -> str:
    """For all forms of a session. It says whose they are, also when the session has ended."""
    return f"{owner.user_id}/{owner.tenant_id}/{secrets.token_urlsafe(32)}"


def owner_of(csrf_token: str) -> Owner | None:
    """Whose form has that token, in whichever session it was shown; None for nobody's who was signed in, and for what
    is no token of ours."""
    keys = [*current_app.config["SECRET_KEY_FALLBACKS"], current_app.config["SECRET_KEY"]]
    try:
        user_id, tenant_id, _ = URLSafeTimedSerializer(keys, salt=_SALT_OF_FLASK_WTF).loads(csrf_token).split("/")
        return Owner(UUID(user_id), UUID(tenant_id))
    except (BadData, ValueError, AttributeError):
        return None


class Pending(NamedTuple):
    """A sign-in that is under way: whose password was right, and what they still have to give.

    proof: what :func:`~app.identity.authentication.proof_of` says of them. account, counted: of the
    :class:`~app.identity.throttle.Attempt`. recovery_code: whether the code was one. session_id: of the one session
    that this can begin.
    """

    user_id: UUID
    proof: str
    account: str
    counted: list[tuple[str, str]]
    needs_code: bool
    recovery_code: bool
    session_id: UUID
    until: datetime

    def keep(self) -> None:
        """For the next request of this browser."""
        texts = {"user_id": str(self.user_id), "session_id": str(self.session_id), "until": self.until.isoformat()}
        session[_PENDING] = self._asdict() | texts

    @classmethod
    def recall(cls) -> Self | None:
        """What was kept, unless it is too long ago."""
        if _PENDING not in session:
            return None
        try:
            kept = session[_PENDING]
            ids = {name: UUID(kept[name]) for name in ("user_id", "session_id")}
            found = cls(**{**kept, **ids, "until": datetime.fromisoformat(kept["until"])})
            return found if found.until > now() else None
        except (KeyError, TypeError, ValueError, AttributeError):  # of another release of ours
            return None

    @staticmethod
    def forget() -> None:
        session.pop(_PENDING, None)
