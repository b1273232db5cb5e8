"""Cross-origin requests to the API: pages of the configured origins may make them, and nobody else's.

They carry a token in ``Authorization``; cookies stay out of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from flask import Flask, Response, current_app, request
from flask_cors import CORS

PATHS: Final = re.compile(r"/api/")
PREFLIGHT_SECONDS: Final = 600


def init_app(app: Flask, origins: Sequence[str]) -> None:
    """Without origins nothing is changed: no answer may be read from elsewhere."""
    if not origins:
        return
    app.before_request(_answer_preflight)
    app.after_request(_vary)
    CORS(
        app,
        resources=PATHS,
        # Texts the library would compare without regard to case, or take for patterns.
        origins=[re.compile(rf"{re.escape(origin)}\Z") for origin in origins],
        methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Location", "Retry-After", "WWW-Authenticate"],
        max_age=PREFLIGHT_SECONDS,
        supports_credentials=False,
        vary_header=False,  # see below
        always_send=False,
        intercept_exceptions=False,  # after_request sees the answers of error handlers, too
    )


def _answer_preflight() -> Response | None:
    """A browser asks before it sends a token: what is asked there cannot be authenticated."""
    if request.method == "OPTIONS" and PATHS.match(request.path) and "Access-Control-Request-Method" in request.headers:
        return current_app.make_default_options_response()
    return None


def _vary(response: Response) -> Response:
    """Also where an origin is not allowed: a cache must not give that answer to one that is."""
    if PATHS.match(request.path):
        response.vary.add("Origin")
    return response
