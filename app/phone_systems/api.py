"""``/api/phone-systems``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.extensions import db
from app.identity.access import current_membership
from app.pagination import Page, PageQuery
from app.phone_systems import service
from app.phone_systems.schemas import (
    PhoneSystemChanges,
    PhoneSystemCreated,
    PhoneSystemIn,
    PhoneSystemOut,
    PhoneSystemWritten,
)

api = APIBlueprint("phone_systems", __name__, url_prefix="/api/phone-systems", tag="Phone systems")


@api.post("")
@api.input(PhoneSystemIn)
@api.output(PhoneSystemCreated, status_code=201)
@api.doc(summary="Create a phone system")
def create(json_data: PhoneSystemIn) -> tuple[PhoneSystemCreated, dict[str, str]]:
    phone_system, generated = service.create(db.session(), current_membership().tenant_id, json_data.given())
    shown = PhoneSystemWritten.model_validate(phone_system).model_dump()
    created = PhoneSystemCreated(**shown, webhook_password=generated)
    return created, {"Location": url_for("phone_systems.show", phone_system_id=phone_system.id)}


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[PhoneSystemOut])
@api.doc(summary="List the phone systems, newest first")
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = service.list_page(db.session(), current_membership().tenant_id, query_data)
    return {"items": items, "next": following}


@api.get("/<uuid:phone_system_id>")
@api.output(PhoneSystemOut)
@api.doc(summary="Show a phone system")
def show(phone_system_id: UUID) -> PhoneSystemOut:
    phone_system = service.get(db.session(), current_membership().tenant_id, phone_system_id)
    return PhoneSystemOut.model_validate(phone_system)


@api.patch("/<uuid:phone_system_id>")
@api.input(PhoneSystemChanges)
@api.output(PhoneSystemWritten)
@api.doc(summary="Change a phone system")
def change(phone_system_id: UUID, json_data: PhoneSystemChanges) -> PhoneSystemWritten:
    tenant_id = current_membership().tenant_id
    return PhoneSystemWritten.of(*service.update(db.session(), tenant_id, phone_system_id, json_data.given()))


@api.delete("/<uuid:phone_system_id>")
@api.output({}, status_code=204)
@api.doc(summary="Delete a phone system, but not its call records")
def delete(phone_system_id: UUID) -> tuple[str, int]:
    service.delete(db.session(), current_membership().tenant_id, phone_system_id)
    return "", 204
