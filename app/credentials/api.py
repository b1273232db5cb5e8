"""``/api/api-credentials``."""

from __future__ import annotations

from app.credentials.schemas import ApiCredentialChanges, ApiCredentialIn, ApiCredentialOut, ApiCredentialWritten
from app.credentials.service import api_credentials
from app.integrations.api import Schemas, integration_routes
from app.pagination import Page

api = integration_routes(
    "api_credentials",
    "/api/api-credentials",
    api_credentials,
    Schemas(
        given=ApiCredentialIn,
        changes=ApiCredentialChanges,
        shown=ApiCredentialOut,
        page=Page[ApiCredentialOut],
        written=ApiCredentialWritten,
        created=ApiCredentialWritten,
    ),
    one="an API credential",
    several="API credentials",
    example={"expires_at": "2030-01-31T12:00:00Z"},
)
