"""``/api/phone-systems``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.database import now
from app.extensions import db
from app.identity.access import current_tenant_id, fresh
from app.integrations.api import Schemas, integration_routes
from app.integrations.schemas import DeleteQuery
from app.limits.budget import costs
from app.pagination import Page, PageQuery
from app.phone_systems import health, unreadable
from app.phone_systems.schemas import (
    CountsOut,
    HealthOut,
    PhoneSystemChanges,
    PhoneSystemCreated,
    PhoneSystemIn,
    PhoneSystemOut,
    PhoneSystemWritten,
    RefusalOut,
    UnreadableDeliveryDetail,
    UnreadableDeliveryOut,
    WebhookPasswordIn,
    WebhookPasswordRotated,
)
from app.phone_systems.service import phone_systems

api = integration_routes(
    "phone_systems",
    "/api/phone-systems",
    phone_systems,
    Schemas(
        given=PhoneSystemIn,
        changes=PhoneSystemChanges,
        shown=PhoneSystemOut,
        page=Page[PhoneSystemOut],
        written=PhoneSystemWritten,
        created=PhoneSystemCreated,
    ),
    one="a phone system",
    several="phone systems",
    example={"name": "Head office, 2nd floor"},
)


@api.post("/<uuid:id>/webhook-password")
@fresh
@api.input(WebhookPasswordIn, example={"keep_previous_hours": 24, "version": 1})
@api.output(WebhookPasswordRotated, description="As it is now, with the new password, this once, if it was generated")
@api.doc(
    summary="Rotate the webhook password of a phone system",
    description="The password until now is accepted for a while longer, so that no delivery is lost while the phone "
    "system is changed. One from before that is not. But where no delivery has used the password until now, and the "
    "one before it is still accepted, that one stays, at least as long as it would have; the unused one is dropped.",
    responses=[409],
)
@costs(10)
def rotate_webhook_password(id: UUID, json_data: WebhookPasswordIn) -> WebhookPasswordRotated:
    given = json_data.given()
    row, generated = phone_systems.rotate_webhook_password(
        db.session(),
        current_tenant_id(),
        id,
        password=given.get("password"),
        keep_previous=timedelta(hours=json_data.keep_previous_hours),
        version=given.get("version"),
    )
    return WebhookPasswordRotated.rotated(row, generated)


@api.delete("/<uuid:id>/webhook-password/previous")
@fresh
@api.input(DeleteQuery, location="query")
@api.output({}, status_code=204, description="Only the webhook password itself is accepted")
@api.doc(summary="Stop accepting the webhook password from before", responses=[409])
@costs(10)
def end_grace(id: UUID, query_data: DeleteQuery) -> tuple[str, int]:
    phone_systems.end_grace(db.session(), current_tenant_id(), id, query_data.version)
    return "", 204


@api.get("/<uuid:id>/health")
@api.output(HealthOut, description="As far as is known")
@api.doc(summary="Show when a phone system last delivered, and was last refused")
@costs(10)
def show_health(id: UUID) -> HealthOut:
    tenant_id = current_tenant_id()
    health.catch_up(tenant_id)
    state = health.get(db.session(), tenant_id, id)
    counts = health.counts(db.session(), tenant_id, id, now() - health.LATELY)
    return HealthOut(
        last_delivery_at=state.last_delivery_at,
        last_refusal=RefusalOut.model_validate(state.last_refusal) if state.last_refusal else None,
        last_24_hours=CountsOut.model_validate(counts),
    )


@api.get("/<uuid:id>/unreadable-deliveries")
@api.input(PageQuery, location="query")
@api.output(Page[UnreadableDeliveryOut], description="A page")
@api.doc(
    summary="List what a phone system delivered that was not understood, newest first",
    description="The newest 20 are kept, and of many at once one in a second; `health` counts all.",
)
@costs(20)
def list_unreadable(id: UUID, query_data: PageQuery) -> dict[str, Any]:
    phone_systems.get(db.session(), current_tenant_id(), id)
    items, following = unreadable.list_page(db.session(), current_tenant_id(), id, query_data)
    return {"items": items, "next": following}


@api.get("/<uuid:id>/unreadable-deliveries/<uuid:delivery_id>")
@api.output(UnreadableDeliveryDetail, description="With what was delivered")
@api.doc(
    summary="Show a delivery that was not understood",
    description="It may hold people's numbers and names: who reads it is in the audit trail.",
)
@costs(10)
def show_unreadable(id: UUID, delivery_id: UUID) -> UnreadableDeliveryDetail:
    kept = unreadable.read(db.session(), current_tenant_id(), id, delivery_id)
    return UnreadableDeliveryDetail.model_validate(kept)


@api.delete("/<uuid:id>/unreadable-deliveries")
@api.output({}, status_code=204, description="None is kept any more")
@api.doc(summary="Delete what a phone system delivered that was not understood")
@costs(10)
def clear_unreadable(id: UUID) -> tuple[str, int]:
    unreadable.clear(db.session(), current_tenant_id(), id)
    return "", 204
