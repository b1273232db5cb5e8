"""What holds for every request and every response, whatever it is about."""

from __future__ import annotations

import threading
from typing import Final

from apiflask import APIFlask
from flask import Response, current_app, request
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.database import SAFE_METHODS
from app.encryption import AppEncryption
from app.errors import Unavailable
from app.extensions import db
from app.tenancy import system_scope

LONGEST_WAIT_SECONDS: Final = 5
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# For pages: what is theirs comes from here alone; nothing in them is script or style but what files say. Bootstrap's
# stylesheet has small images in itself, and so has the page that shows a QR code.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # without it a browser would not say either whence a form was sent
    "Cache-Control": "no-store",
}
STRICT_TRANSPORT_SECURITY: Final = "max-age=31536000; includeSubDomains"

# Blueprints that say what the service is and how it is, also when it is not well.
_ALWAYS_ANSWER: Final = frozenset({"documentation", "metrics", "openapi", "status"})
_check = threading.Lock()


def init_app(app: APIFlask, *, https_only: bool) -> None:
    """https_only: tell browsers so even where TLS ends at a proxy in front of us, as it does in production."""
    app.url_map.merge_slashes = False  # by a redirect to whatever host the request names
    app.before_request(_require_checked_keys)
    app.before_request(_require_text)
    app.before_request(_require_json)
    app.before_request(_read_chunks)
    app.after_request(_set_headers)
    app.after_request(_commit_what_was_read)
    app.config["HTTPS_ONLY"] = https_only


def _require_checked_keys() -> None:
    """Serve nothing until the database was seen to agree with the encryption keys. One that was not migrated or not
    reachable at the start, or has been changed since, is looked at again."""
    encryption: AppEncryption = current_app.extensions["encryption"]
    if encryption.checked or request.blueprint in _ALWAYS_ANSWER:
        return
    if not _check.acquire(timeout=LONGEST_WAIT_SECONDS):
        raise Unavailable("The service is waiting for its database.")
    try:
        if not encryption.checked:
            with system_scope():
                encryption.check_and_register(db.engine)
    finally:
        _check.release()
    if not encryption.checked:
        raise Unavailable("The database is not migrated yet: run `flask db upgrade`.")


def _require_text() -> None:
    """A query that is no text cannot be shown, nor put into a link."""
    try:
        request.query_string.decode()
    except UnicodeDecodeError:
        raise BadRequest("The query is not UTF-8.") from None


def _require_json() -> None:
    """Bodies of another type are none of the API's, however they parse: a browser sends some of them across sites."""
    if has_body() and request.path.startswith("/api/") and not request.is_json:
        raise UnsupportedMediaType("The body must be application/json.")


def has_body() -> bool:
    """Whether something follows the request's head."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def _read_chunks() -> None:
    """Read a body of the API that does not state its length, and is not read by its view in full."""
    if "Transfer-Encoding" in request.headers and request.path.startswith("/api/"):
        read_body(current_app.config["MAX_CONTENT_LENGTH"])


def read_body(most: int) -> bytes:
    """The request's body, of at most ``most`` bytes. Raises RequestEntityTooLarge.

    A body that does not state its length is cut off at the limit, without a word: so one byte more is asked for.
    """
    request.max_content_length = most + 1
    body = request.get_data()
    if len(body) > most:
        raise RequestEntityTooLarge
    return body


def read_beginning(most: int) -> bytes:
    """The first ``most`` bytes of a body that nothing was read of yet; fewer where it ends before."""
    pieces, missing = [], most
    while missing and (piece := request.stream.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _commit_what_was_read(response: Response) -> Response:
    """End a transaction that has only read by COMMIT. Left open it would be rolled back, and with each ROLLBACK the
    driver forgets which statements it has prepared: PostgreSQL would plan all of them anew with every request."""
    if request.method in SAFE_METHODS and response.status_code < 400 and db.session.registry.has():
        session = db.session()
        if not (session.new or session.dirty or session.deleted):  # it would be a mistake of ours: nothing is stored
            try:
                session.commit()
            except DBAPIError:  # what was read stays right
                session.rollback()
    return response


def _set_headers(response: Response) -> Response:
    if response.mimetype == "text/html" and request.method != "OPTIONS":
        for name, value in PAGE_HEADERS.items():
            response.headers.setdefault(name, value)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(("/api/", "/hooks/")):
        response.headers.setdefault("Cache-Control", "no-store")
    if request.is_secure or current_app.config["HTTPS_ONLY"]:
        response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
    return response
