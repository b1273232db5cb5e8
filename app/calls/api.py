"""``/api/calls``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.calls import service
from app.calls.schemas import CallOut
from app.extensions import db
from app.identity.access import current_membership
from app.limits.budget import costs
from app.pagination import Page, PageQuery

api = APIBlueprint("calls", __name__, url_prefix="/api/calls", tag="Calls")


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[CallOut], description="A page")
@api.doc(summary="List the call records, newest first")
@costs(20)
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = service.list_calls(db.session(), current_membership().tenant_id, query_data)
    return {"items": items, "next": following}
