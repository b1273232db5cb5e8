"""How often somebody may deliver.

A busy phone system stays far below the first limit. The second counts only refusals: it ends guessing. Both count by
the sender's address and the phone system together, so that a stranger elsewhere locks nobody out, and neither does one
behind the same proxy who does not know where the others deliver.
"""

from __future__ import annotations

import time
from typing import Final

from limits import RateLimitItem, parse

from app.errors import TooManyRequests
from app.extensions import limiter

DELIVERIES: Final = parse("3000 per minute")
REFUSALS: Final = parse("60 per minute")


class Attempt:
    """A delivery from ``address`` to the phone system of that id, which the sender chose and need not exist."""

    def __init__(self, address: str, phone_system_id: str) -> None:
        phone_system = phone_system_id[:36].lower()  # an id may be written in either case
        self._deliveries = ("deliveries", address, phone_system)
        self._refusals = ("refused-deliveries", address, phone_system)

    def count(self) -> None:
        """Raises :class:`~app.errors.TooManyRequests` when there were too many."""
        if not limiter.limiter.test(REFUSALS, *self._refusals):
            raise _too_many(REFUSALS, self._refusals)
        if not limiter.limiter.hit(DELIVERIES, *self._deliveries):
            raise _too_many(DELIVERIES, self._deliveries)

    def refused(self) -> None:
        limiter.limiter.hit(REFUSALS, *self._refusals)


def _too_many(limit: RateLimitItem, key: tuple[str, ...]) -> TooManyRequests:
    reset = limiter.limiter.get_window_stats(limit, *key).reset_time
    return TooManyRequests("Too many deliveries: wait before trying again.", max(1, round(reset - time.time())))
