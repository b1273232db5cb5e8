"""How many connections to the database are in use, and how many there may be."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from sqlalchemy import Engine, QueuePool, event

from app.metrics.counted import Counted

_IN_USE: Final = "counted as in use"  # in ConnectionPoolEntry.record_info


def init_app(app: Flask, engine: Engine) -> None:
    figures: Counted = app.extensions["metrics"]

    def connected(connection: Any, record: Any) -> None:
        if isinstance(engine.pool, QueuePool):
            figures.pool_size.set(engine.pool.size())
            figures.pool_limit.set(engine.pool.size() + engine.pool._max_overflow)

    def taken(connection: Any, record: Any, proxy: Any) -> None:
        record.record_info[_IN_USE] = True
        figures.pool_in_use.inc()

    def returned(connection: Any, record: Any) -> None:
        if record.record_info.pop(_IN_USE, False):  # not of one that turned out to be dead when it was taken
            figures.pool_in_use.dec()

    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", taken)
    event.listen(engine, "checkin", returned)
