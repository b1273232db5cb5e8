"""``/api/encryption``: how the tenant's secrets are encrypted."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.tenants import secrets
from app.tenants.schemas import EncryptionOut

api = APIBlueprint("encryption", __name__, url_prefix="/api/encryption", tag="Encryption")


@api.get("")
@api.output(EncryptionOut, description="As it is now")
@api.doc(
    summary="Show how the tenant's secrets are encrypted",
    description="How many there are, under which keys, and how the last rotation of the keys went. Never a secret.",
)
@costs(20)
def show() -> dict[str, Any]:
    found = secrets.overview(db.session(), current_tenant_id())
    return {
        "secrets": found.secrets,
        "kinds": found.kinds,
        "keys": found.keys,
        "last_rotation": secrets.last_rotation(db.session()),
    }
