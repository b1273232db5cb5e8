"""For Prometheus, with a token of its own: how the whole installation is. No tenant, no user, no secret is in it."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.status.figures import exposition

api = APIBlueprint("metrics", __name__)


@api.get("/metrics")
@api.doc(hide=True)
def show() -> Response:
    return Response(exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"})
