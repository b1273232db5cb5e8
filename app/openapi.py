"""The description of the API at ``/openapi.json``: what the routes and schemas do not say by themselves."""

from __future__ import annotations

import re
from typing import Any, Final

from apiflask import APIFlask
from flask import current_app

from app.identity import access

SECURITY_SCHEMES: Final = {
    "access_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From `/api/login`"},
    "refresh_token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From `/api/login`"},
    "webhook_credentials": {"type": "http", "scheme": "basic", "description": "Of the phone system in the path"},
}
SCHEME_OF: Final[dict[access.Who | None, str]] = {
    access.with_refresh_token: "refresh_token",
    access.phone_system: "webhook_credentials",
    access.signed_in: "access_token",
    access.owner_or_admin: "access_token",
}
PROBLEM_DETAILS: Final = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "To look the event up in the log"},
        "errors": {
            "type": "array",
            "description": "What is wrong with the input, if that is it",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def init_app(app: APIFlask) -> None:
    app.config.from_mapping(
        OPENAPI_VERSION="3.1.0",
        INFO={"description": "Phone systems, call records and the secrets of a tenant's integrations."},
        SECURITY_SCHEMES=SECURITY_SCHEMES,
        AUTO_OPERATION_ID=True,
        AUTO_SERVERS=False,  # the host header is anybody's to choose
        HTTP_ERROR_SCHEMA=PROBLEM_DETAILS,
        VALIDATION_ERROR_SCHEMA=PROBLEM_DETAILS,
    )
    app.spec_processor(_complete)


def _complete(spec: Any) -> Any:
    for rule in current_app.url_map.iter_rules():
        who = current_app.extensions["access"].get(rule.endpoint.partition(".")[0])
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method in rule.methods or ():
            if operation := spec["paths"].get(path, {}).get(method.lower()):
                _describe(operation, who)
                for parameter in operation["parameters"]:
                    if f"<uuid:{parameter['name']}>" in rule.rule:
                        parameter["schema"]["format"] = "uuid"
    return spec


def _describe(operation: dict[str, Any], who: access.Who | None) -> None:
    """Say what the operation's blueprint demands, and that errors have a media type of their own (RFC 9457)."""
    responses = operation["responses"]
    if scheme := SCHEME_OF.get(who):
        operation["security"] = [{scheme: []}]
        responses["401"] = {"description": "Not authenticated", "content": {"application/json": {"schema": _PROBLEM}}}
    if who is access.owner_or_admin:
        responses["403"] = {"description": "Only a member", "content": {"application/json": {"schema": _PROBLEM}}}
    for status, response in responses.items():
        if status >= "400":
            response["content"] = {"application/problem+json": response["content"].popitem()[1]}


_PROBLEM: Final = {"$ref": "#/components/schemas/HTTPError"}
