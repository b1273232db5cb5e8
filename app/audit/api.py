"""``/api/audit-events``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.audit import service
from app.audit.models import AuditEvent
from app.audit.schemas import AuditEventOut, AuditQuery
from app.extensions import db
from app.limits.budget import costs
from app.pagination import Page

api = APIBlueprint("audit_events", __name__, url_prefix="/api/audit-events", tag="Audit trail")


@api.get("")
@api.input(AuditQuery, location="query")
@api.output(Page[AuditEventOut], description="A page")
@api.doc(
    summary="List what happened, newest first",
    description="Who did what, to which object, from where, and what came of it. Filters are combined.",
)
@costs(20)
def list_page(query_data: AuditQuery) -> dict[str, Any]:
    wanted = {name: getattr(query_data, name) for name in service.Filters.__dataclass_fields__}
    items, following = service.list_page(db.session(), service.Filters(**wanted), query_data)
    return {"items": [_shown(item) for item in items], "next": following}


def _shown(item: AuditEvent) -> dict[str, Any]:
    names = ("id", "occurred_at", "action", "outcome", "object_id", "address", "request_id", "count", "details")
    actor = {"type": item.actor_type, "id": item.actor_id, "name": item.actor_name}
    return {name: getattr(item, name) for name in names} | {"actor": actor}
