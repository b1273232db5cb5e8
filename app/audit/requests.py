"""What every request leaves in the audit trail without its view doing anything: that it was refused."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final
from uuid import UUID

from flask import Flask, Response, g, request
from sqlalchemy.exc import SQLAlchemyError

from app.audit import tally
from app.audit.actors import ANONYMOUS, Origin
from app.audit.service import REFUSED
from app.tenancy import current_scope

log = logging.getLogger(__name__)

_ACTIONS: Final = {
    HTTPStatus.UNAUTHORIZED: "request.not_authenticated",
    HTTPStatus.FORBIDDEN: "request.not_allowed",
    HTTPStatus.NOT_FOUND: "request.not_found",
    HTTPStatus.TOO_MANY_REQUESTS: "request.too_many",
}


def init_app(app: Flask) -> None:
    tally.init_app(app)
    app.after_request(_record_refusal)


def refusal_is_recorded() -> None:
    """Say that the refusal of this request is in the audit trail already, told better than here."""
    g.refusal_is_recorded = True


def _record_refusal(response: Response) -> Response:
    """Never the reason why a request fails: what it was refused for, stands."""
    try:
        tally.store_due()
        action = _ACTIONS.get(HTTPStatus(response.status_code))
        if action is not None and _is_of_interest(response.status_code) and not g.get("refusal_is_recorded"):
            details = (("method", request.method), ("route", str(request.url_rule)))
            scope = current_scope()
            tally.count(tally.Kind(action, REFUSED, scope if isinstance(scope, UUID) else None, details=details))
    except SQLAlchemyError as error:
        log.error("a refusal is not in the audit trail: %s", type(error).__name__)
    return response


def _is_of_interest(status: int) -> bool:
    """Whether this is a route of ours; and of what was not found, whether somebody who is signed in tried an id: it may
    be another tenant's."""
    if request.url_rule is None:
        return False
    return status != HTTPStatus.NOT_FOUND or (bool(request.view_args) and Origin.now().actor != ANONYMOUS)
