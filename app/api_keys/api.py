"""``/api/api-keys``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.api_keys import service
from app.api_keys.schemas import ApiKeyCreated, ApiKeyIn, ApiKeyOut
from app.extensions import db
from app.identity.access import current_session, current_tenant_id, fresh
from app.identity.models import Role
from app.limits.budget import costs
from app.pagination import Page, PageQuery

api = APIBlueprint("api_keys", __name__, url_prefix="/api/api-keys", tag="API keys")


@api.post("")
@fresh
@api.input(ApiKeyIn)
@api.output(ApiKeyCreated, status_code=201, description="With the key itself, this once")
@api.doc(
    summary="Create an API key",
    description="It belongs to the tenant, and stays when whoever made it goes. The owners are told by mail.",
)
@costs(100)
def create(json_data: ApiKeyIn) -> tuple[ApiKeyCreated, dict[str, str]]:
    row, text = service.create(
        db.session(),
        current_tenant_id(),
        name=json_data.name,
        role=Role(json_data.role),
        expires_at=json_data.expires_at,
        created_by=current_session().email,
    )
    return ApiKeyCreated.created(row, text), {"Location": url_for("api_keys.show", id=row.id)}


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[ApiKeyOut], description="A page")
@api.doc(summary="List the API keys, newest first")
@costs(0)
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = service.list_page(db.session(), current_tenant_id(), query_data)
    return {"items": items, "next": following}


@api.get("/<uuid:id>")
@api.output(ApiKeyOut, description="As it is now")
@api.doc(summary="Show an API key")
@costs(10)
def show(id: UUID) -> ApiKeyOut:
    return ApiKeyOut.model_validate(service.get(db.session(), current_tenant_id(), id))


@api.delete("/<uuid:id>")
@fresh
@api.output({}, status_code=204, description="It is refused from now on")
@api.doc(summary="Delete an API key")
@costs(0)
def delete(id: UUID) -> tuple[str, int]:
    service.delete(db.session(), current_tenant_id(), id)
    return "", 204
