"""Counts in the memory of one process, for an installation without Redis.

The one that the library brings starts a thread with nearly every request, to look for counts that are over: an eighth
of what a request took. Here a request looks for them, one in ten seconds.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import Final

from limits.storage import Storage

SECONDS_BETWEEN_SWEEPS: Final = 10.0


class Memory(Storage):
    """Times are seconds since the epoch, as the library wants them."""

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}  # how many, and when they are over
        self._changing = Lock()
        self._swept_at = time.time()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What may go wrong with it: nothing."""
        return ()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count ``amount`` more; the first one begins the ``expiry`` seconds that all count for. Returns the count."""
        moment = time.time()
        with self._changing:
            if moment - self._swept_at >= SECONDS_BETWEEN_SWEEPS:
                self._counts = {name: count for name, count in self._counts.items() if count[1] > moment}
                self._swept_at = moment
            count, over_at = self._counts.get(key, (0, 0.0))
            if over_at <= moment:
                count, over_at = 0, moment + expiry
            self._counts[key] = count + amount, over_at
            return count + amount

    def get(self, key: str) -> int:
        """The count."""
        count, over_at = self._counts.get(key, (0, 0.0))
        return count if over_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the count is over; now, if there is none."""
        return max(self._counts.get(key, (0, 0.0))[1], time.time())

    def check(self) -> bool:
        """Whether it is there."""
        return True

    def reset(self) -> int:
        """Forget every count. Returns how many there were."""
        with self._changing:
            count = len(self._counts)
            self._counts = {}
        return count

    def clear(self, key: str) -> None:
        """Forget that count."""
        with self._changing:
            self._counts.pop(key, None)
