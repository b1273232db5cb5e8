"""How often somebody may deliver.

A busy phone system stays far below the first limit. The others count only refusals. One ends guessing, and counts, as
the first, by the sender's address and the phone system together, so that a stranger elsewhere locks nobody out, and
neither does one behind the same proxy who does not know where the others deliver. The last, far wider, is for the
address alone: it ends a flood at paths that are made up, before each of them is looked for.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from app.errors import TooManyRequests
from app.limits import counting
from app.limits.limit import Limit

TOO_MANY: Final = "Too many deliveries: wait before trying again."


class Attempt:
    """A delivery to the phone system of that id, which the sender chose and need not exist.

    network: of the sender, as :func:`~app.limits.counting.client_network` tells it.
    """

    def __init__(self, network: str, phone_system_id: str) -> None:
        self._network = network
        self._whose = network, phone_system_id[:36].lower()  # an id may be written in either case

    def count(self) -> None:
        """Raises :class:`~app.errors.TooManyRequests` when there were too many."""
        counting.check(Limit.HOOKS, self._network, refusal=TOO_MANY)
        counting.check(Limit.REFUSED_DELIVERIES, *self._whose, refusal=TOO_MANY)
        counting.count(Limit.DELIVERIES, *self._whose, refusal=TOO_MANY)

    def refused(self) -> None:
        with suppress(TooManyRequests):  # which the next delivery is told
            counting.count(Limit.REFUSED_DELIVERIES, *self._whose)
        with suppress(TooManyRequests):
            counting.count(Limit.HOOKS, self._network)
