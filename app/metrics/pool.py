"""How many connections to the database are in use, and how many there may be."""

from __future__ import annotations

from threading import Lock
from typing import Any, Final

from flask import Flask
from sqlalchemy import Engine, QueuePool, event

from app.metrics.counted import Counted

_IN_USE: Final = "counted as in use"  # in ConnectionPoolEntry.record_info


def init_app(app: Flask, engine: Engine) -> None:
    figures: Counted = app.extensions["metrics"]
    in_use, changing = 0, Lock()

    def limit() -> int | None:
        """At most so many at once; None where nothing says so, as for a database in memory."""
        return engine.pool.size() + engine.pool._max_overflow if isinstance(engine.pool, QueuePool) else None

    def count(more: int) -> None:
        nonlocal in_use
        with changing:
            in_use += more
            figures.pool_in_use.set(in_use)
            if most := limit():
                figures.pool_fullest.set(in_use / most)

    def connected(connection: Any, record: Any) -> None:
        if most := limit():
            figures.pool_limit.set(most)

    def taken(connection: Any, record: Any, proxy: Any) -> None:
        record.record_info[_IN_USE] = True
        count(1)

    def returned(connection: Any, record: Any) -> None:
        if record.record_info.pop(_IN_USE, False):  # not of one that turned out to be dead when it was taken
            count(-1)

    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", taken)
    event.listen(engine, "checkin", returned)
