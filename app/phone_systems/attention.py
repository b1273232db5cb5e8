"""What somebody should look at in a phone system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from app.phone_systems.health import Health
from app.phone_systems.models import PhoneSystem
from app.phone_systems.vendors import VENDORS

SILENT_AFTER: Final = timedelta(days=3)  # a weekend is no trouble
REFUSED_LATELY: Final = timedelta(hours=24)

_SENTENCES: Final = {
    "closed": "It has no webhook password: everything that it delivers is refused.",
    "refused": "What it last delivered was refused: the user name or the password was wrong.",
    "unreadable": "It delivers, but not what {kind} sends: is the kind right?",
    "silent": "No call record has come for more than 3 days.",
    "new": "No call record has come yet.",
}


def attention(phone_system: PhoneSystem, health: Health | None, moment: datetime) -> list[str]:
    """Sentences for people, the most urgent first; none if all is well. health, moment: see below."""
    found = trouble(phone_system, health, moment)
    sentences = [_SENTENCES[found].format(kind=VENDORS[phone_system.vendor].LABEL)] if found else []
    if phone_system.base_url is not None and not phone_system.password_set:
        sentences.append("There is no password to sign in to its API with.")
    return sentences


def trouble(phone_system: PhoneSystem, health: Health | None, moment: datetime) -> str:
    """What is wrong between a phone system and us: closed, refused, unreadable, silent or new; "" for nothing. It is
    the cause rather than what comes of it.

    health: None for a phone system that was deleted in this very moment. moment: now, aware.
    """
    if health is None:
        return ""
    if not phone_system.webhook_password_set:
        return "closed"
    delivered = health.last_delivery_at
    refusal = health.refusal_after(delivered)
    if refusal is not None and moment - refusal.last_at < REFUSED_LATELY:
        return "refused" if refusal.unreadable is None else "unreadable"
    if delivered is None:
        return "new"
    return "silent" if moment - delivered > SILENT_AFTER else ""
