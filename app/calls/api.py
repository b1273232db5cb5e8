"""``/api/calls``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response

from app.calls import service
from app.calls.description import EXPORT
from app.calls.download import csv_download, json_download
from app.calls.models import Call
from app.calls.schemas import CallDetail, CallFilters, CallOut, CallQuery, ExportQuery
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.pagination import Page
from app.tenants.service import time_zone_of

api = APIBlueprint("calls", __name__, url_prefix="/api/calls", tag="Calls")


@api.get("")
@api.input(CallQuery, location="query")
@api.output(Page[CallOut], description="A page")
@api.doc(summary="List the call records, newest first", description="Filters are combined.")
@costs(20)
def list_page(query_data: CallQuery) -> dict[str, Any]:
    tenant_id = current_tenant_id()
    items, following = service.list_calls(db.session(), tenant_id, query_data, _filters(tenant_id, query_data))
    return {"items": items, "next": following}


@api.get("/export")
@api.input(ExportQuery, location="query")
@api.doc(
    summary="Export the call records as CSV or JSON, newest first",
    description="As CSV a header and a line for each record, in UTF-8; times are local to the tenant. As JSON an array "
    "of the same objects that the list has, each on a line of its own; times are in UTC. Filters are combined.",
    responses=EXPORT,
)
@costs(1000)
def export(query_data: ExportQuery) -> Response:
    tenant_id = current_tenant_id()
    filters = _filters(tenant_id, query_data)
    if query_data.format == "json":
        return json_download(tenant_id, filters, _as_json)
    return csv_download(tenant_id, filters, time_zone_of(db.session(), tenant_id))


@api.get("/<uuid:id>")
@api.output(CallDetail, description="The record, and the other legs of its call")
@api.doc(summary="Show a call record")
@costs(10)
def show(id: UUID) -> dict[str, Any]:
    call, other_legs = service.get_call(db.session(), current_tenant_id(), id)
    return {name: getattr(call, name) for name in CallOut.model_fields} | {"other_legs": other_legs}


def _as_json(call: Call) -> str:
    return CallOut.model_validate(call).model_dump_json()


def _filters(tenant_id: UUID, query: CallFilters) -> service.Filters:
    return service.chosen(db.session(), tenant_id, {name: getattr(query, name) for name in CallFilters.model_fields})
