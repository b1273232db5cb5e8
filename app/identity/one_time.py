"""One-time tokens: 256 random bits that stand in a link of a mail, and nowhere else: what is stored is their SHA-256.

A token is used up by deleting its row in the transaction of what it is good for: of several uses at once one finds it,
and if that comes to nothing, the token is as good as before.
"""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import ColumnElement, delete
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.identity.models import OneTimeToken


class LinkNotValid(Invalid):
    """Unknown, used, expired, replaced or taken back: nobody can tell which."""

    def __init__(self) -> None:
        message = "is not valid any more: ask for a new link"
        super().__init__("The link is not valid any more.", [{"field": "token", "message": message}])


def new_token() -> str:
    """A token for a mail."""
    return secrets.token_urlsafe(32)


def fingerprint(token: str) -> str:
    """What is stored of a token, and found by it."""
    return hashlib.sha256(token.encode()).hexdigest()


def void_tokens(session: Session, which: ColumnElement[bool]) -> None:
    """Make links void that were mailed to users. Not committed. To be done after the user is changed and before
    sessions are ended: everybody locks in this order."""
    session.execute(delete(OneTimeToken).where(which).execution_options(synchronize_session=False))
