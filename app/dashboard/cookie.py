"""The browser's cookie: which session of the user it belongs to, the CSRF token, and messages for the next page.

It is signed, not encrypted, and holds no secret. That a session lasts is decided in the database, with every request:
see :mod:`app.identity.sessions`. No token of the API is accepted here, nor the cookie there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self
from uuid import UUID

from flask import Flask, session

from app.database import now
from app.errors import Unauthenticated
from app.extensions import db
from app.identity import sessions
from app.identity.models import UserSession
from app.identity.sessions import SignedIn
from app.tenancy import tenant_scope

PENDING_EXPIRES: Final = timedelta(minutes=5)

_SUBJECT: Final = "subject"
_PENDING: Final = "pending"


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


def sign_in(started: UserSession, user_id: UUID) -> None:
    """Make it the cookie of a session that has just begun. What it held before is forgotten, the CSRF token too."""
    flashes = session.get("_flashes")
    session.clear()
    if flashes:
        session["_flashes"] = flashes
    session[_SUBJECT] = [str(user_id), str(started.tenant_id), str(started.id)]


def sign_out() -> None:
    """Forget everything."""
    session.clear()


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


def last_tenant_id() -> UUID | None:
    """The tenant that the browser was last signed in to."""
    try:
        return UUID(session[_SUBJECT][1])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


class Pending(NamedTuple):
    """A sign-in that is under way: whose password was right, and what they still have to give.

    proof: what :func:`~app.identity.service.proof_of` says of the password. account, counted: of the
    :class:`~app.identity.throttle.Attempt`. recovery_code: whether the code was one.
    """

    user_id: UUID
    proof: str
    account: str
    counted: list[tuple[str, str]]
    needs_code: bool
    recovery_code: bool
    until: datetime

    def keep(self) -> None:
        """For the next request of this browser."""
        session[_PENDING] = {**self._asdict(), "user_id": str(self.user_id), "until": self.until.isoformat()}

    @classmethod
    def recall(cls) -> Self | None:
        """What was kept, unless it is too long ago."""
        if _PENDING not in session:
            return None
        kept = session[_PENDING]
        found = cls(**{**kept, "user_id": UUID(kept["user_id"]), "until": datetime.fromisoformat(kept["until"])})
        return found if found.until > now() else None

    @staticmethod
    def forget() -> None:
        session.pop(_PENDING, None)
