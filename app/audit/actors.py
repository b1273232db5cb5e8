"""Who does what is being done, and from where: known once a request is authenticated; at the terminal it is the
operator."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Final, Literal, Self, cast
from uuid import UUID

from flask import g, has_request_context, request


@dataclass(frozen=True)
class Actor:
    """``name``: what people know it by: an e-mail address, what a key or a phone system is called."""

    type: Literal["user", "api_key", "phone_system", "operator", "anonymous"]
    id: UUID | None = None
    name: str = ""

    @property
    def known_as(self) -> str | None:
        """What a tenant is told of who did something; None if that is not known."""
        return "the operator" if self.type == "operator" else self.name or None


ANONYMOUS: Final = Actor("anonymous")


def act_as(actor: Actor) -> None:
    """From here on, until the request ends, it is ``actor`` who does things."""
    g.actor = actor


@dataclass(frozen=True)
class Origin:
    """Where an event comes from. ``address``: of the client."""

    actor: Actor
    address: str | None = None
    request_id: str | None = None

    @classmethod
    def now(cls) -> Self:
        """Of what is being done at this moment."""
        if has_request_context():
            return cls(cast(Actor, g.get("actor", ANONYMOUS)), request.remote_addr or None, g.get("request_id"))
        return cls(Actor("operator", name=_account_of_the_machine()))


def _account_of_the_machine() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # containers may run under an id without a name
        return ""
