"""How many mails anybody can have sent to one address."""

from __future__ import annotations

import hashlib
import time
from typing import Final

from limits import parse

from app.errors import TooManyRequests
from app.extensions import limiter

PER_RECIPIENT: Final = parse("3 per hour")


def count(kind: str, recipient: str) -> None:
    """Count a mail of that kind to ``recipient``, an e-mail address in its one spelling.

    Raises :class:`~app.errors.TooManyRequests` when there were too many.
    """
    counted = "mail", kind, hashlib.sha256(recipient.encode()).hexdigest()  # the storage need not know who it is
    if not limiter.limiter.hit(PER_RECIPIENT, *counted):
        reset = limiter.limiter.get_window_stats(PER_RECIPIENT, *counted).reset_time
        detail = "Too many mails of this kind to this address: wait before asking for another."
        raise TooManyRequests(detail, retry_after=max(1, round(reset - time.time())))
