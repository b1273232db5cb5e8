"""The service without its metrics and its log: the yardstick of what those cost. Nobody should run it."""

from __future__ import annotations

import importlib
from typing import Any

from app import logs
from app.metrics import counted, pool, requests


class Nothing:
    """A counter that does not count."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def labels(self, *values: Any) -> Nothing:
        return self

    def inc(self, amount: float = 1) -> None: ...

    set = inc


for kind in ("Counter", "Gauge", "Histogram"):
    setattr(counted, kind, Nothing)
requests.init_app = lambda app: None
pool.init_app = lambda app, engine: None
logs.log_to_standard_error = lambda: None
app = importlib.import_module("wsgi").app
