"""``/api/tenant``: the tenant itself."""

from __future__ import annotations

from apiflask import APIBlueprint

from app.extensions import db
from app.identity.access import NOT_FRESH, current_tenant_id, require_fresh, require_owner, require_owner_or_admin
from app.limits.budget import costs
from app.tenants import service
from app.tenants.schemas import OwnTenantOut, TenantChanges

api = APIBlueprint("tenant", __name__, url_prefix="/api/tenant", tag="Tenant")

FORBIDDEN = "Only owners, admins and API keys with the role `admin` change it, and only owners `call_retention_days`"


@api.get("")
@api.output(OwnTenantOut, description="As it is now")
@api.doc(summary="Show the tenant")
@costs(10)
def show() -> OwnTenantOut:
    return OwnTenantOut.model_validate(service.get(db.session(), current_tenant_id()))


@api.patch("")
@api.input(TenantChanges, example={"name": "Acme Group", "time_zone": "Europe/Berlin", "version": 1})
@api.output(OwnTenantOut, description="As it is now")
@api.doc(
    summary="Change the tenant's name, time zone, country, or how long call records are kept",
    description="Fields that are left out stay as they are. Days are counted in the new zone from now on, those of the "
    "past too, and phone systems that have none of their own are read in it. Call records that are stored stay as they "
    "are; only their numbers follow another country, when the operator has them described again. The subdomain cannot "
    "be changed: phone systems deliver to it. Needs a fresh sign-in with `call_retention_days`: call records that are "
    "older are removed, once a day, and cannot be had back.",
    responses={401: NOT_FRESH, 403: FORBIDDEN, 409: "Conflict"},
)
@costs(10)
def change(json_data: TenantChanges) -> OwnTenantOut:
    require_owner_or_admin()
    changes = json_data.given()
    if "call_retention_days" in changes:
        require_owner()
        require_fresh()
    version = changes.pop("version", None)
    return OwnTenantOut.model_validate(service.change(db.session(), current_tenant_id(), changes, version))
