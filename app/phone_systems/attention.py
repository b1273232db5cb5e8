"""What somebody should look at in a phone system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.phone_systems.health import Health
from app.phone_systems.models import PhoneSystem

SILENT_AFTER: Final = timedelta(hours=24)
REFUSED_LATELY: Final = timedelta(hours=24)


def attention(phone_system: PhoneSystem, health: Health, moment: datetime) -> list[str]:
    """Sentences for people, the most urgent first; none if all is well. moment: now."""
    found, delivered = [], health.last_delivery_at
    if not phone_system.webhook_password_set:
        found.append("It has no webhook password: everything that it delivers is refused.")
    elif _is_refused(health, moment):
        found.append("What it last delivered was refused: the user name or the password was wrong.")
    elif delivered is None:
        found.append("No call record has come yet.")
    elif delivered < moment - SILENT_AFTER:
        found.append("No call record has come for more than 24 hours.")
    if phone_system.base_url is not None and not phone_system.password_set:
        found.append("There is no password to sign in to its API with.")
    return found


def _is_refused(health: Health, moment: datetime) -> bool:
    """Whether it was refused lately, and nothing has been accepted since."""
    refused, delivered = health.last_refusal, health.last_delivery_at
    if refused is None or refused.last_at < moment - REFUSED_LATELY:
        return False
    return delivered is None or delivered < refused.last_at
