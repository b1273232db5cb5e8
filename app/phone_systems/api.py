"""``/api/phone-systems``."""

from __future__ import annotations

from app.integrations.api import Schemas, integration_routes
from app.pagination import Page
from app.phone_systems.schemas import (
    PhoneSystemChanges,
    PhoneSystemCreated,
    PhoneSystemIn,
    PhoneSystemOut,
    PhoneSystemWritten,
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
