"""``/api/phone-systems``."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from app.extensions import db
from app.identity.access import current_tenant_id, fresh
from app.integrations.api import Schemas, integration_routes
from app.integrations.schemas import DeleteQuery
from app.limits.budget import costs
from app.pagination import Page
from app.phone_systems import health
from app.phone_systems.schemas import (
    HealthOut,
    PhoneSystemChanges,
    PhoneSystemCreated,
    PhoneSystemIn,
    PhoneSystemOut,
    PhoneSystemWritten,
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
    health.catch_up(current_tenant_id())
    return HealthOut.model_validate(health.get(db.session(), current_tenant_id(), id))
