"""What somebody should look at in a phone system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.phone_systems.health import Health
from app.phone_systems.models import PhoneSystem
from app.phone_systems.vendors import authentication_of

SILENT_AFTER: Final = timedelta(days=3)  # a weekend is no trouble
REFUSED_LATELY: Final = timedelta(hours=24)

CLOSED: Final = "No webhook password is set: all deliveries are refused."
REFUSED: Final = "The last delivery was refused: wrong user name or password."
WRONG_SIGNATURE: Final = "The last delivery was refused: wrong signature, so the secret here is not the phone system's."
UNREADABLE: Final = "It delivers, but not what its kind sends: is the kind right?"
SILENT: Final = "No call record has come for more than 3 days."
NEW: Final = "No call record has come yet."
NO_PASSWORD: Final = "The API has an address, but no password to sign in with."
SENTENCES: Final = (CLOSED, REFUSED, WRONG_SIGNATURE, UNREADABLE, SILENT, NEW, NO_PASSWORD)  # the most pressing first


def attention(phone_system: PhoneSystem, health: Health | None, moment: datetime) -> list[str]:
    """Those of the sentences that are true of it; none if all is well.

    health: None for a phone system that was deleted in this very moment. moment: now, aware.
    """
    found = [] if health is None else _of_deliveries(phone_system, health, moment)
    if phone_system.base_url is not None and not phone_system.password_set:
        found.append(NO_PASSWORD)
    return found


def _of_deliveries(phone_system: PhoneSystem, health: Health, moment: datetime) -> list[str]:
    """The cause alone, rather than what comes of it."""
    if not phone_system.webhook_password_set:
        return [CLOSED]
    delivered = health.last_delivery_at
    refusal = health.refusal_after(delivered)
    if refusal is not None and moment - refusal.last_at < REFUSED_LATELY:
        if refusal.unreadable is not None:
            return [UNREADABLE]
        return [WRONG_SIGNATURE if authentication_of(phone_system.vendor).made_by_pbx else REFUSED]
    if delivered is None:
        return [NEW]
    return [SILENT] if moment - delivered > SILENT_AFTER else []
