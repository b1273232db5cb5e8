"""For load balancers, monitors and the curious: alive, ready, and what this is. Public; shows nobody's data."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal, cast

from apiflask import APIBlueprint, APIFlask
from flask import current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.extensions import db
from app.schemas import Output
from app.status.service import READY, check_readiness, is_ready

api = APIBlueprint("status", __name__, tag="Status")


class Home(Output):
    name: str = Field(examples=["AudiaPro"])
    description: str = Field(examples=["Multi-tenant backend for call insight"])
    version: str = Field(examples=["0.1.0"], description="Of the service")
    links: dict[str, str] = Field(examples=[{"documentation": "/docs", "openapi": "/openapi.json"}])


class Alive(Output):
    status: Literal["ok"]


class Ready(Output):
    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = Field(
        examples=[{"database": READY, "migrations": READY, "keys": READY}], description="`ok`, or what is wrong"
    )


TO_THE_DASHBOARD: Final[dict[int | str, dict[str, Any]]] = {303: {"description": "A browser is led on"}}
NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "At least one check failed",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Ready"},
                "example": {
                    "status": "unavailable",
                    "checks": {"database": "The database cannot be reached.", "migrations": "Unknown while …"},
                },
            }
        },
    }
}


@api.get("/")
@api.output(Home, description="The service, and where to go on")
@api.doc(
    summary="Say what this is",
    description="Browsers, which ask for `text/html` by name, are led to the dashboard.",
    responses=TO_THE_DASHBOARD,
)
def home() -> ResponseReturnValue:
    varies = {"Vary": "Accept"}
    if "text/html" in request.headers.get("Accept", ""):
        dashboard = redirect(url_for("overview.show"), HTTPStatus.SEE_OTHER)
        dashboard.headers.update(varies)
        return dashboard
    links = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/healthz", "readiness": "/readyz"}
    answer = {
        "name": "AudiaPro",
        "description": "Multi-tenant backend for call insight that keeps other people's secrets",
        "version": cast(APIFlask, current_app).version,
        "links": links,
    }
    return answer, varies


@api.get("/healthz")
@api.output(Alive, description="It is")
@api.doc(summary="Is the process alive?", description="Asks nothing of the database.")
def alive() -> dict[str, str]:
    return {"status": READY}


@api.get("/readyz")
@api.output(Ready, description="It can")
@api.doc(
    summary="Can the process serve?",
    description="Checks the database, its migrations and the encryption keys, and tells whether the database itself "
    "keeps tenants apart (tenant_isolation), without which it can serve.",
    responses=NOT_READY,
)
def ready() -> tuple[dict[str, Any], int]:
    checks = check_readiness(db.engine)
    if is_ready(checks):
        return {"status": READY, "checks": checks}, HTTPStatus.OK
    return {"status": "unavailable", "checks": checks}, HTTPStatus.SERVICE_UNAVAILABLE
