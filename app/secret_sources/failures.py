"""How a secret can fail to be had, and how long is waited for it."""

from __future__ import annotations

from typing import Final, NamedTuple


class Failure(Exception):
    """A secret cannot be had. The message says why and what to do, and holds nothing of what the store has sent."""


class Refused(Failure):
    """Asking again does not help: the reference, the rights or the secret itself must be put right."""


class Unavailable(Failure):
    """The store is down, slow or overloaded: this may pass."""


class Patience(NamedTuple):
    """How long a store is waited for, in seconds.

    connect, read: of one request: for the connection, and for each piece of the answer.
    attempts: how often is asked in all, where a failure may pass.
    wait: before the second attempt; it doubles with each further one.
    total: for all secrets together.
    """

    connect: float = 3
    read: float = 5
    attempts: int = 3
    wait: float = 0.5
    total: float = 30


PATIENCE: Final = Patience()
