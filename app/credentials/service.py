"""What can be done with API credentials."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.credentials.models import ApiCredential
from app.integrations.service import Integrations

api_credentials = Integrations(ApiCredential, "api_credential", secret="secret", sent_to=["provider"])

EXPIRES_SOON: Final = timedelta(days=30)

EXPIRED: Final = "The key has expired: the provider does not accept it any more."
SOON: Final = "The key expires within 30 days: get a new one from the provider, and replace it here."
NO_KEY: Final = "The key is missing."
SENTENCES: Final = (EXPIRED, SOON, NO_KEY)  # the most pressing first


def attention(credential: ApiCredential, moment: datetime) -> list[str]:
    """Those of the sentences that are true of it; none if all is well. moment: now, aware."""
    found = []
    if credential.expires_at is not None:
        if credential.expires_at <= moment:
            found.append(EXPIRED)
        elif credential.expires_at <= moment + EXPIRES_SOON:
            found.append(SOON)
    if not credential.secret_set:
        found.append(NO_KEY)
    return found
