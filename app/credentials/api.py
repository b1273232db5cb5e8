"""``/api/api-credentials``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.credentials import service
from app.credentials.schemas import ApiCredentialChanges, ApiCredentialIn, ApiCredentialOut, ApiCredentialWritten
from app.extensions import db
from app.identity.access import current_membership
from app.pagination import Page, PageQuery

api = APIBlueprint("api_credentials", __name__, url_prefix="/api/api-credentials", tag="API credentials")


@api.post("")
@api.input(ApiCredentialIn)
@api.output(ApiCredentialWritten, status_code=201)
@api.doc(summary="Create an API credential")
def create(json_data: ApiCredentialIn) -> tuple[ApiCredentialWritten, dict[str, str]]:
    credential = service.create(db.session(), current_membership().tenant_id, json_data.given())
    location = url_for("api_credentials.show", credential_id=credential.id)
    return ApiCredentialWritten.of(credential, []), {"Location": location}


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[ApiCredentialOut])
@api.doc(summary="List the API credentials, newest first")
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = service.list_page(db.session(), current_membership().tenant_id, query_data)
    return {"items": items, "next": following}


@api.get("/<uuid:credential_id>")
@api.output(ApiCredentialOut)
@api.doc(summary="Show an API credential")
def show(credential_id: UUID) -> ApiCredentialOut:
    credential = service.get(db.session(), current_membership().tenant_id, credential_id)
    return ApiCredentialOut.model_validate(credential)


@api.patch("/<uuid:credential_id>")
@api.input(ApiCredentialChanges)
@api.output(ApiCredentialWritten)
@api.doc(summary="Change an API credential")
def change(credential_id: UUID, json_data: ApiCredentialChanges) -> ApiCredentialWritten:
    tenant_id = current_membership().tenant_id
    return ApiCredentialWritten.of(*service.update(db.session(), tenant_id, credential_id, json_data.given()))


@api.delete("/<uuid:credential_id>")
@api.output({}, status_code=204)
@api.doc(summary="Delete an API credential")
def delete(credential_id: UUID) -> tuple[str, int]:
    service.delete(db.session(), current_membership().tenant_id, credential_id)
    return "", 204
