"""For load balancers, monitors and the curious: alive, ready, and what this is. Public; shows nobody's data."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

from apiflask import APIBlueprint, APIFlask
from flask import current_app

from app.extensions import db
from app.status.service import READY, check_readiness, is_ready

api = APIBlueprint("status", __name__, tag="Status")


@api.get("/")
@api.doc(summary="Say what this is")
def home() -> dict[str, Any]:
    return {
        "name": "AudiaPro",
        "description": "Multi-tenant backend for call insight that keeps other people's secrets",
        "version": cast(APIFlask, current_app).version,
        "links": {"openapi": "/openapi.json", "health": "/healthz", "readiness": "/readyz"},
    }


@api.get("/healthz")
@api.doc(summary="Is the process alive?", description="Asks nothing of the database.")
def alive() -> dict[str, str]:
    return {"status": READY}


@api.get("/readyz")
@api.doc(
    summary="Can the process serve?",
    description="Checks the database, its migrations and the encryption keys, and tells whether the database itself "
    "keeps tenants apart (tenant_isolation), without which it can serve.",
    responses={503: "At least one check failed, other than tenant_isolation: see checks"},
)
def ready() -> tuple[dict[str, Any], int]:
    checks = check_readiness(db.engine)
    if is_ready(checks):
        return {"status": READY, "checks": checks}, HTTPStatus.OK
    return {"status": "unavailable", "checks": checks}, HTTPStatus.SERVICE_UNAVAILABLE
