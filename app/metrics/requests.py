"""Requests, counted by route, method and status: the rule of a route, never the path that a client has chosen."""

from __future__ import annotations

import time
from typing import Final

from flask import Flask, Response, g, request

from app.metrics.counted import counted

NO_ROUTE: Final = "none"
OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def init_app(app: Flask) -> None:
    """To be called before all that has to do with requests, so that theirs is counted too."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began_at = time.perf_counter()


def _end(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule is not None else NO_ROUTE
    method = request.method if request.method in METHODS else OTHER
    figures = counted()
    figures.requests.labels(route, method, response.status_code).inc()
    figures.request_seconds.labels(route, method).observe(time.perf_counter() - g.began_at)
    return response
