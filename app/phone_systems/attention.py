"""What somebody should look at in a phone system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.phone_systems.health import Health
from app.phone_systems.models import PhoneSystem

LONG_SILENCE: Final = timedelta(days=3)  # a weekend and a holiday without a call are nothing unusual


def attention(phone_system: PhoneSystem, health: Health, moment: datetime) -> list[str]:
    """Sentences for people, the most urgent first; none if all is well. moment: now."""
    found = []
    delivered, refused = health.last_delivery_at, health.last_refusal
    if not phone_system.webhook_password_set:
        found.append("It has no webhook password: everything that it delivers is refused.")
    elif refused is not None and (delivered is None or refused.last_at > delivered):
        found.append("What it last delivered was refused: the user name or the password was wrong.")
    elif delivered is None:
        found.append("No call record has come yet.")
    elif delivered < moment - LONG_SILENCE:
        found.append(f"No call record has come for {(moment - delivered).days} days.")
    if phone_system.base_url is not None and not phone_system.password_set:
        found.append("There is no password to sign in to its API with.")
    return found
