"""A tenant to try things with, made in an empty development database: an owner, a phone system, and its calls.

Nothing here has a known password: each is drawn when the tenant is made, and told once.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.calls.service import store_records
from app.demonstration.generated import generated_calls
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from app.phone_systems.vendors import VENDORS
from app.phone_systems.vendors.records import FORM
from app.tenants import service as tenants

SUBDOMAIN: Final = "demo"
OWNER: Final = "admin@demo.example"
TIME_ZONE: Final = "Europe/London"

# What a real Asterisk posted: requests with their headers, of which the body is delivered.
DELIVERIES: Final = Path(__file__).parent / "deliveries"

# The other leg of the answered call, left to be delivered by whoever tries the hook.
NOT_YET_DELIVERED: Final = (
    "accountcode=&src=%2B442071234567&dst=200&dcontext=test&clid=%22Ada%20Lovelace%22%20%3C%2B442071234567%3E"
    "&channel=Local%2F100%40test-00000000%3B1&dstchannel=&lastapp=Wait&lastdata=20"
    "&start=2026-11-20%2018%3A32%3A10&answer=2026-11-20%2018%3A32%3A10&end=2026-11-20%2018%3A32%3A12"
    "&duration=2&billsec=2&disposition=ANSWERED&amaflags=DOCUMENTATION"
    "&uniqueid=1795199530.0&userfield=&linkedid=1795199530.0"
)


@dataclass(frozen=True, repr=False)
class Demonstration:
    """How to get in: as the owner, and as the phone system."""

    owner_password: str
    webhook_path: str
    webhook_username: str
    webhook_password: str


def create_demonstration(session: Session, now: datetime) -> Demonstration:
    """Make the tenant, and commit. now: aware; the generated calls end there."""
    owner_password = secrets.token_urlsafe(12)
    owner = tenants.create_tenant(
        session,
        name="Demonstration Ltd",
        subdomain=SUBDOMAIN,
        time_zone=TIME_ZONE,
        owner_email=OWNER,
        read_password=lambda: owner_password,
    )
    phone_system = phone_systems.create(
        session, owner.tenant_id, {"name": "Demonstration Asterisk", "vendor": "asterisk"}
    )
    _store_calls(session, phone_system, now)
    return Demonstration(
        owner_password, phone_system.webhook_path, phone_system.webhook_username or "", phone_system.webhook_password
    )


def _store_calls(session: Session, phone_system: PhoneSystem, now: datetime) -> None:
    belongs_to = phone_system.tenant_id, phone_system.id
    for request in sorted(DELIVERIES.glob("*.http")):
        _head, body = re.split(rb"\r?\n\r?\n", request.read_bytes().rstrip(), maxsplit=1)
        store_records(session, *belongs_to, VENDORS["asterisk"].parse(FORM, body, ZoneInfo(TIME_ZONE)))
    store_records(session, *belongs_to, generated_calls(now, ZoneInfo(TIME_ZONE)), demonstration=True)
