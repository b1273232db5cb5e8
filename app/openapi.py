"""The description of the API at ``/openapi.json``: what the routes and schemas do not say by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from apiflask import APIFlask
from flask import current_app

from app.examples import BY_FORMAT, example_of
from app.identity import access
from app.limits.budget import cost_of
from app.limits.counting import TOO_MANY_REQUESTS

DESCRIPTION: Final = """Phone systems, call records and the secrets of a tenant's integrations.

`POST /api/login` gives an access token, which the other requests under `/api` send as `Authorization: Bearer …`.
Machines send an API key in its place, where an operation says so.

What changes a secret, the ways to sign in or who may do what, and what deletes an object, needs a fresh sign-in: within
the last five minutes the user has signed in, or sent the password to `POST /api/reauthenticate`. Ending sessions never
does.

A secret is written and never read: `password` in a request, `password_set`, `password_changed_at` and
`password_changed_by` in an answer.

An object that is changed has a `version`. Send it with a change or a deletion to be told, with 409, that somebody else
was faster; without it the last one wins.

A list is `{"items": […], "next": cursor or null}`, newest first: send `next` as `?cursor=` for the next page.

Requests are limited: by address, and by what those of a tenant cost together in a minute (`x-cost` of each operation).
Too many are refused with 429, and `Retry-After` says when to go on.

Every error is `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC."""

SECURITY_SCHEMES: Final = {
    "access_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From `/api/login`"},
    "refresh_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From `/api/login`"},
    "api_key": {"type": "http", "scheme": "bearer", "description": "`audiapro_…`, from `/api/api-keys`"},
    "webhook_credentials": {"type": "http", "scheme": "basic", "description": "Of the phone system in the path"},
    "webhook_signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Signature",
        "description": "Base64 of HMAC-SHA256 over the body, with the webhook secret of the phone system in the path",
    },
}
SCHEMES_OF: Final[dict[access.Who | None, tuple[str, ...]]] = {
    access.with_refresh_token: ("refresh_token",),
    access.phone_system: ("webhook_credentials", "webhook_signature"),
    access.signed_in: ("access_token",),
    access.signed_in_owner_or_admin: ("access_token",),
    access.signed_in_owner: ("access_token",),
    access.any_role: ("access_token", "api_key"),
    access.owner_or_admin: ("access_token", "api_key"),
}
NOBODY_FORBIDDEN: Final = frozenset({access.phone_system, access.any_role})
PROBLEM_DETAILS: Final = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "`about:blank`: the status says what kind of error it is"},
        "title": {"type": "string", "description": "The name of the status"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What went wrong this time, and what to do"},
        "request_id": {"type": "string", "description": "To look the event up in the log"},
        "errors": {
            "type": "array",
            "description": "What is wrong with the input, if that is it",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Empty for the whole of the input"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
PARAMETERS: Final = {
    "id": "Of the object, as its creation or a list shows it",
    "session_id": "Of the session, as the list shows it",
    "delivery_id": "Of the delivery, as the list shows it",
    "subdomain": "Of the tenant",
    "phone_system_id": "Of the phone system; the whole path is its `webhook_path`",
}


class Refusal(NamedTuple):
    """When an operation answers with a status of 400 or more, and what it says, for instance."""

    when: str
    detail: str


REFUSALS: Final = {
    400: Refusal(
        "The body is not JSON", "The body is not JSON in UTF-8, or has NaN, the same key twice, or too deep a nesting."
    ),
    401: Refusal("No token, or not a valid one", "Sign in first."),
    403: Refusal("The role, or an API key, may not do this", "Only owners and admins of the organisation may do this."),
    404: Refusal("There is no such thing in your tenant", "There is nothing here under this id."),
    409: Refusal(
        "The object has another version by now: nothing was stored",
        "It was changed meanwhile, nothing of this was stored: read it again, and change what it is now.",
    ),
    413: Refusal("The body is larger than 1 MiB", "The data value transmitted exceeds the capacity limit."),
    415: Refusal("The body is of another type", "The body must be application/json."),
    422: Refusal("The input is not valid: nothing was stored", "The request is not valid: see errors."),
    429: Refusal("Too many requests from this address, or the tenant's budget is used up", TOO_MANY_REQUESTS),
    503: Refusal(
        "The database, the storage of rate limits or an encryption key is missing at the moment",
        "The database is not available at the moment.",
    ),
}
# Of operations that ask neither the database nor the keys.
ALWAYS_ANSWERED: Final = frozenset({"/", "/healthz", "/readyz"})
_RETRY_AFTER: Final = {"description": "Seconds until it is worth trying again", "schema": {"type": "integer"}}
_LOCATION: Final = {"description": "The path of what was created", "schema": {"type": "string"}}
HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"description": "How to authenticate", "schema": {"type": "string"}}},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}


def init_app(app: APIFlask) -> None:
    app.config.from_mapping(
        OPENAPI_VERSION="3.1.0",
        INFO={"description": DESCRIPTION},
        SECURITY_SCHEMES=SECURITY_SCHEMES,
        AUTO_OPERATION_ID=True,
        AUTO_SERVERS=False,  # the host header is anybody's to choose
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        HTTP_ERROR_SCHEMA=PROBLEM_DETAILS,
    )
    app.spec_processor(_complete)


def _complete(spec: Any) -> Any:
    schemas: dict[str, Any] = spec["components"]["schemas"]
    schemas["HTTPError"] = PROBLEM_DETAILS
    spec["tags"] = list({tag["name"]: tag for tag in spec["tags"]}.values())
    for rule in current_app.url_map.iter_rules():
        who = current_app.extensions["access"].get(rule.endpoint.partition(".")[0])
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method in rule.methods or ():
            if operation := spec["paths"].get(path, {}).get(method.lower()):
                for parameter in operation["parameters"]:
                    if parameter["in"] == "path":
                        parameter["description"] = PARAMETERS[parameter["name"]]
                    if f"<uuid:{parameter['name']}>" in rule.rule:
                        parameter["schema"]["format"] = "uuid"
                if hasattr(current_app.view_functions[rule.endpoint], "needs_fresh_sign_in"):
                    operation["responses"]["401"] = {"description": access.NOT_FRESH}
                if cost := cost_of(rule.endpoint):
                    operation["x-cost"] = cost
                _describe(operation, path, who)
                _give_examples(operation, schemas)
    return spec


def _describe(operation: dict[str, Any], path: str, who: access.Who | None) -> None:
    """Say what the operation's blueprint demands, and which errors it can answer with beside those it names."""
    if schemes := SCHEMES_OF.get(who):
        operation["security"] = [{scheme: []} for scheme in schemes]
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
    responses = operation["responses"]
    if "201" in responses and path.startswith("/api/") and schemes:  # who signs up has to sign in before all else
        responses["201"]["headers"] = {"Location": _LOCATION}
    for status in _refusals(operation, path, who):
        named = responses.get(str(status), {})
        if "application/json" in named.get("content", {}) and "example" in named["content"]["application/json"]:
            continue  # described in full by its route
        when = named.get("description", HTTPStatus(status).phrase)
        responses[str(status)] = _problem(status, None if when == HTTPStatus(status).phrase else when)
    operation["responses"] = dict(sorted(responses.items()))


def _refusals(operation: Mapping[str, Any], path: str, who: access.Who | None) -> set[int]:
    """The statuses of 400 and more that the operation can answer with."""
    found = {int(status) for status in operation["responses"] if status >= "400"}
    if path not in ALWAYS_ANSWERED:
        found.add(503)
    if path.startswith("/api/"):
        found.add(429)
    if who in SCHEMES_OF:
        found |= {401} if who in NOBODY_FORBIDDEN else {401, 403}
    if any("format" in parameter["schema"] for parameter in operation["parameters"] if parameter["in"] == "path"):
        found.add(404)
    if "requestBody" in operation:
        found |= {400, 413, 415, 422}
    if any(parameter["in"] == "query" for parameter in operation["parameters"]):
        found.add(422)
    return found


def _problem(status: int, when: str | None) -> dict[str, Any]:
    """The OpenAPI Response Object of an error."""
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": REFUSALS[status].detail,
        "request_id": BY_FORMAT["uuid"],
    }
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        example["errors"] = [{"field": "name", "message": "Field required"}]
    return {
        "description": when or REFUSALS[status].when,
        "headers": HEADERS.get(status, {}),
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/HTTPError"}, "example": example}
        },
    }


def _give_examples(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    """An example for each body that has none of its own."""
    for described in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media in described.get("content", {}).values():
            if not media.keys() & {"example", "examples"}:
                media["example"] = example_of(media["schema"], schemas)
