"""What goes wrong, as a page: for whoever looks at one, and not for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, current_app, g, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from app.dashboard import steps
from app.dashboard.access import refuse_other_sites
from app.errors import Forbidden

# What a status says to people, and what they can do; where there is nothing, what is said of this very case.
_TEXTS: Final[Mapping[int, tuple[str, str]]] = {
    HTTPStatus.NOT_FOUND: ("Page not found", "There is nothing here, or it is not yours to see. It may be gone."),
    HTTPStatus.FORBIDDEN: ("Not allowed", ""),
    HTTPStatus.METHOD_NOT_ALLOWED: ("That does not work here", "Go back, and try it from the page."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("That is too much", "What you sent is larger than we take."),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("We cannot make sense of this", ""),
    HTTPStatus.TOO_MANY_REQUESTS: ("Please wait a little", ""),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "Something went wrong here",
        "It was logged, under the request below.",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Not available at the moment", ""),
}


_PASSING: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def init_app(app: Flask) -> None:
    app.extensions["error_page"] = error_page


def is_for_a_page() -> bool:
    """Whether somebody looks at a page. Where it is none of ours, whoever asks for HTML by name does."""
    if request.blueprint is not None:
        return request.blueprint in current_app.extensions["pages"]
    is_machines = request.path.startswith(("/api/", "/hooks/", "/webhooks/"))
    return "text/html" in request.headers.get("Accept", "") and not is_machines


def error_page(status: int, detail: str, headers: Mapping[str, str]) -> Response | None:
    """A page that says it; None where nobody looks at one. Asks nothing of the database, which may be away."""
    if not is_for_a_page():
        return None
    kept = _kept_fields() if status in _PASSING else []
    title, text = _TEXTS.get(status, (HTTPStatus(status).phrase, ""))
    page = render_template(
        "dashboard/error.html",
        title=title,
        text=text or detail,
        request_id=g.get("request_id", ""),
        retry_after=headers.get("Retry-After"),
        kept=kept,
        origin=steps.origin() if kept else "",
        origin_name=steps.ORIGIN,
    )
    response = make_response(page, status)
    response.headers.update({name: value for name, value in headers.items() if name != "WWW-Authenticate"})
    return response


def _kept_fields() -> Sequence[tuple[str, str]]:
    """What was typed into the form that was sent, secrets excepted: it is offered again, as after a step."""
    if request.method != "POST":
        return []
    try:
        refuse_other_sites()  # nobody has typed what another site made up
        return steps.kept_fields()
    except (HTTPException, Forbidden):  # the former: more than we take
        return []
