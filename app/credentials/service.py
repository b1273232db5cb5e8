"""What can be done with API credentials."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.credentials.models import ApiCredential
from app.integrations.service import Integrations

api_credentials = Integrations(ApiCredential, "api_credential", secret="secret", sent_to=["provider"])

EXPIRES_SOON: Final = timedelta(days=30)


def attention(credential: ApiCredential, moment: datetime) -> list[str]:
    """What somebody should look at, in sentences for people; nothing if all is well. moment: now."""
    found = []
    if not credential.secret_set:
        found.append("It has no key.")
    if credential.expires_at is not None:
        if credential.expires_at <= moment:
            found.append("It has expired: the provider does not accept it any more.")
        elif credential.expires_at <= moment + EXPIRES_SOON:
            found.append("It expires soon: get a new key from the provider, and replace it here.")
    return found
