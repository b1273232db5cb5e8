"""Stylesheets, scripts and images: each under an address that changes with its content, so that browsers keep it for
good, and compressed. Pages are not: they hold what people typed beside what they must not know, and the length of what
is compressed tells of both (BREACH)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, current_app, request

from app.dashboard.extensions import bootstrap, compress
from app.identity import access

CACHE_CONTROL: Final = "public, max-age=31536000, immutable"
BOOTSTRAP: Final = "bootstrap"


def init_app(app: Flask) -> None:
    app.config.from_mapping(
        BOOTSTRAP_SERVE_LOCAL=True,
        COMPRESS_REGISTER=False,
        COMPRESS_STREAMS=False,
        COMPRESS_MIMETYPES=["text/css", "text/javascript", "image/svg+xml"],
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_BR_LEVEL=9,
    )
    bootstrap.init_app(app)
    compress.init_app(app)
    app.extensions["access"][BOOTSTRAP] = access.public
    app.url_defaults(_add_version)
    app.after_request(_keep_for_good)


def _add_version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint.endswith(".static") and "filename" in values:
        values["v"] = _version(endpoint.partition(".")[0], values["filename"])


def _version(blueprint: str, filename: str) -> str | None:
    folder = current_app.blueprints[blueprint].static_folder
    return _hash_of(Path(folder or "", filename))


@lru_cache(maxsize=256)
def _hash_of(path: Path) -> str | None:
    """None for a file that there is not. Files do not change while the process lives."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def _keep_for_good(response: Response) -> Response:
    endpoint = request.endpoint or ""
    if endpoint.endswith(".static") and response.status_code == 200:
        version = _version(endpoint.partition(".")[0], (request.view_args or {})["filename"])
        if version is not None and request.args.get("v") == version:
            response.headers["Cache-Control"] = CACHE_CONTROL
        response.direct_passthrough = False
        response.make_sequence()  # what is a stream can have no gzip
        return compress.after_request(response)
    return response
