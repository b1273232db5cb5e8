"""How often somebody may try to sign in.

Guesses at one account are limited wherever they come from. An address from which the account signed in lately has an
allowance of its own, so that a stranger who uses up the common one does not lock the owner out.
"""

from __future__ import annotations

import hashlib
import time
from typing import Final

from limits import parse

from app.errors import TooManyRequests
from app.extensions import limiter

PER_ADDRESS: Final = "10 per minute"
PER_ACCOUNT: Final = parse("20 per hour")
KNOWN_ADDRESS_SECONDS: Final = 30 * 24 * 3600


class Attempt:
    """An attempt to sign in to ``account``, an e-mail address, from ``address``. It counts as a failure until it
    succeeds, so that any number of guesses at the same time are counted too."""

    def __init__(self, account: str, address: str) -> None:
        account = hashlib.sha256(account.encode()).hexdigest()  # the storage need not know who our users are
        self._known_address = f"signed-in/{account}/{address}"
        known = int(limiter.storage.get(self._known_address)) > 0
        self._allowance = ("sign-in", account, address if known else "anywhere")

    def count(self) -> None:
        """Raises :class:`~app.errors.TooManyRequests` when there were too many."""
        if not limiter.limiter.hit(PER_ACCOUNT, *self._allowance):
            reset = limiter.limiter.get_window_stats(PER_ACCOUNT, *self._allowance).reset_time
            detail = "Too many attempts to sign in to this account: wait before trying again."
            raise TooManyRequests(detail, retry_after=max(1, round(reset - time.time())))

    def succeeded(self) -> None:
        """Forget the failures, and remember where the owner of the account is."""
        limiter.limiter.clear(PER_ACCOUNT, *self._allowance)
        limiter.storage.incr(self._known_address, KNOWN_ADDRESS_SECONDS)
