"""One error shape for the API: RFC 9457 problem details; one page for people: see :mod:`app.dashboard.errors`.

Whatever goes wrong, the answer is ``application/problem+json`` with ``type``, ``title``, ``status``, ``detail`` and
``request_id``, and ``errors`` for invalid input. A detail is written by us; what a driver or a library says stays in
the log, without parameters, because it may hold tenants' data.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, current_app, g, request
from limits.errors import StorageError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import BadRequest, HTTPException

from app.database import uuid7
from app.encryption import AppEncryption, EncryptionError
from app.encryption.registry import KeyRefused
from app.extensions import db

log = logging.getLogger(__name__)

FieldErrors = list[dict[str, str]]

DatabaseFailed = SQLAlchemyError  # whatever keeps the database from doing something, for who has to go on without


class Problem(Exception):
    """A refusal that a service raises and the API answers with."""

    status = HTTPStatus.BAD_REQUEST
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str, errors: FieldErrors | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors


class Unauthenticated(Problem):
    status = HTTPStatus.UNAUTHORIZED


class Forbidden(Problem):
    status = HTTPStatus.FORBIDDEN


class NotFresh(Problem):
    """Who is signed in has to prove once more who they are (RFC 9470). ``within``: how long ago it may have been."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, within: timedelta) -> None:
        detail = "This needs a fresh sign-in: send what you sign in with to /api/reauthenticate, then try again."
        super().__init__(detail)
        challenge = f'error="insufficient_user_authentication", max_age={int(within.total_seconds())}'
        self.headers = {"WWW-Authenticate": f"Bearer {challenge}"}


class NotFound(Problem):
    status = HTTPStatus.NOT_FOUND


class Conflict(Problem):
    status = HTTPStatus.CONFLICT


class OutdatedVersion(Conflict):
    """Somebody else changed the object after the sender of a change had read it."""

    def __init__(self) -> None:
        super().__init__(
            "It was changed meanwhile, nothing of this was stored: read it again, and change what it is now."
        )


class MadeAlready(Conflict):
    """There is something already under the id that was to be made."""

    def __init__(self) -> None:
        super().__init__("This conflicts with something that is there already.")


class Invalid(Problem):
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyRequests(Problem):
    """``retry_after``: in how many seconds it is worth trying again."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.headers = {"Retry-After": str(retry_after)}


class Unavailable(Problem):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = MappingProxyType({"Retry-After": "5"})


# PostgreSQL's SQLSTATE of a database that only reads, as after a failover, or that is not migrated to this version.
_NOT_READY: Final = frozenset({"0A000", "25006", "42P01", "42703"})


def init_app(app: APIFlask) -> None:
    """Give every request an id, and every failure the one shape."""
    app.before_request(_set_request_id)
    app.error_processor(_invalid_input)
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StorageError, _limits_unavailable)
    app.register_error_handler(EncryptionError, _secret_unavailable)
    app.register_error_handler(KeyRefused, _keys_unavailable)
    app.register_error_handler(IntegrityError, _integrity_error)
    app.register_error_handler(StaleDataError, _outdated)
    app.register_error_handler(OperationalError, _database_unavailable)
    app.register_error_handler(NoConnectionFree, _no_connection_free)
    app.register_error_handler(Exception, _failure)


def problem(
    status: int, detail: str, errors: FieldErrors | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer in the one shape of errors; or a page that says the same, to whoever looks at one."""
    shown: Response | None = current_app.extensions["error_page"](status, detail, headers or {})
    if shown is not None:
        return shown
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "request_id": g.get("request_id", ""),
    }
    if errors is not None:
        body["errors"] = errors
    response = Response(json.dumps(body) + "\n", status, content_type="application/problem+json")
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(headers or {})
    return response


def _set_request_id() -> None:
    g.request_id = str(uuid7())


def _refused(refusal: Problem) -> Response:
    return problem(refusal.status, refusal.detail, refusal.errors, refusal.headers)


def _invalid_input(error: HTTPError) -> Response:
    """What APIFlask raises; for input that does not fit its schema, the fields and what is wrong with each."""
    if error.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return problem(error.status_code, error.message or HTTPStatus(error.status_code).phrase)
    fields: FieldErrors = [
        {"field": "" if field == "_schema" else field, "message": message}
        for by_field in error.detail.values()
        for field, messages in by_field.items()
        for message in messages
    ]
    return problem(error.status_code, "The request is not valid: see errors.", fields)


def _http_error(error: HTTPException) -> Response:
    response = error.get_response()
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    kept = {name: value for name in ("Allow", "Retry-After") if (value := response.headers.get(name))}
    detail = error.description or HTTPStatus(status).description
    if isinstance(error, BadRequest) and request.is_json:  # the library's words are for people with a browser
        detail = "The body is not JSON in UTF-8, or has NaN, the same key twice, or too deep a nesting."
    return problem(status, detail, headers=kept)


def _limits_unavailable(error: StorageError) -> Response:
    """Without its storage a limit cannot be kept, and what it protects stays closed."""
    log.error("the storage of rate limits is not available: %s", type(error.storage_error).__name__)
    return _refused(Unavailable("The service cannot count requests at the moment."))


def _secret_unavailable(error: EncryptionError) -> Response:
    log.error("a stored secret cannot be used: %s", error)
    return _unavailable("A stored secret cannot be read at the moment. The operator's log says which and why.")


def _keys_unavailable(error: KeyRefused) -> Response:
    log.error("the encryption keys do not fit the database: %s", error)
    return _unavailable("The service's encryption keys do not fit its database. The operator's log says why.")


def _integrity_error(error: IntegrityError) -> Response:
    """A write under a key that was retired meanwhile fails by its foreign key: this process must be restarted."""
    db.session.rollback()
    encryption: AppEncryption = current_app.extensions["encryption"]
    if encryption.keyring.primary.id not in encryption.registry.registered(db.session.connection()):
        encryption.checked = False
        log.error("the primary key %s is not registered any more: restart this process", encryption.keyring.primary.id)
        return _unavailable("This process holds an encryption key that was retired. Try again.")
    _log_without_parameters("the database refused a change", error)
    return problem(HTTPStatus.CONFLICT, "The change conflicts with what is stored.")


def _outdated(error: StaleDataError) -> Response:
    """The database has another version of a row than the one that was read to be changed, or none any more."""
    db.session.rollback()
    return _refused(OutdatedVersion())


def _database_unavailable(error: OperationalError) -> Response:
    _log_without_parameters("the database is not available", error)
    return _unavailable("The database is not available at the moment.")


def _no_connection_free(error: NoConnectionFree) -> Response:
    log.error("all connections to the database are in use: it is slow, or the pool too small for the threads")
    return _unavailable("The database is not available at the moment.")


def _unavailable(detail: str) -> Response:
    return _refused(Unavailable(detail))


def _failure(error: Exception) -> Response:
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _NOT_READY:
        _log_without_parameters("the database is not ready", error)
        return _unavailable("The database is not ready at the moment.")
    if isinstance(error, StatementError):
        _log_without_parameters("unhandled database error", error)
    else:
        log.exception("unhandled error, request %s", g.get("request_id", ""))
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here. It was logged under the request id.")


def _log_without_parameters(message: str, error: StatementError) -> None:
    """Log a driver's error by its class and SQLSTATE: its text may quote the row."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    state = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    log.error("%s: %s %s, request %s", message, type(cause or error).__name__, state, g.get("request_id", ""))
