"""What can be done with API credentials."""

from __future__ import annotations

from app.credentials.models import ApiCredential
from app.integrations.service import Integrations

api_credentials = Integrations(ApiCredential, "api_credential", secret="secret", sent_to=["provider"])
