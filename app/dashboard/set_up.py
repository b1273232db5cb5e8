"""How a phone system is set up: what to enter there, and waiting for what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from flask import render_template

from app.database import now
from app.extensions import db
from app.mail.delivery import delivery
from app.phone_systems import arrivals, health
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import WEBHOOK_USERNAME
from app.phone_systems.vendors import PASSWORD_HERE, VENDORS, authentication_of

LONGEST_WAIT: Final = timedelta(minutes=10)


def instructions(phone_system: PhoneSystem, password: str = PASSWORD_HERE) -> Mapping[str, Any]:
    """For templates: the webhook URL, what to do at the PBX, what stands in place of a password there, and whether it
    goes the other way: the PBX makes it."""
    url = delivery().public_url + phone_system.webhook_path
    username = phone_system.webhook_username or WEBHOOK_USERNAME
    steps = VENDORS[phone_system.vendor].set_up(url, username, password)
    return {"url": url, "set_up": steps, "password_here": PASSWORD_HERE, "is_pasted": is_pasted(phone_system)}


def waiting(phone_system: PhoneSystem, since: datetime) -> Mapping[str, Any]:
    """For templates: what has come since then, and whether to ask again.

    refusal: the last, if it came since then, and after the record. again: from when to ask on; None if what was waited
    for is here, or it took too long, which is is_over.
    """
    record = arrivals.newest_record(db.session(), phone_system.tenant_id, phone_system.id, since)
    state = health.get(db.session(), phone_system.tenant_id, phone_system.id)
    used_at = password_used_at(phone_system)
    is_done = record is not None and (used_at is not None or not in_grace(phone_system))
    is_over = not is_done and now() > since + LONGEST_WAIT
    return {
        "record": record,
        "is_pasted": is_pasted(phone_system),
        "refusal": state.refusal_after(record.received_at if record is not None else since),
        "in_grace": in_grace(phone_system),
        "used_at": used_at,
        "is_over": is_over,
        "again": None if is_done or is_over else since.isoformat(),
    }


def is_pasted(phone_system: PhoneSystem) -> bool:
    """Whether its webhook password is a secret that it makes itself."""
    return authentication_of(phone_system.vendor).made_by_pbx


def in_grace(phone_system: PhoneSystem) -> bool:
    """Whether the webhook password before this one is accepted, too."""
    return phone_system.previous_webhook_password_expires_at is not None


def password_used_at(phone_system: PhoneSystem) -> datetime | None:
    """When it first signed in with its new webhook password, while the one before is accepted too. None for not yet,
    and at other times, when nobody needs to know."""
    return phone_system.webhook_password_used_at if in_grace(phone_system) else None


def show_password(phone_system: PhoneSystem, password: str, *, is_new: bool) -> str:
    """The page that shows a webhook password this once, and what to do with it. is_new: whether the phone system is."""
    return render_template(
        "dashboard/phone_systems/password.html",
        phone_system=phone_system,
        password=password,
        is_new=is_new,
        vendor=VENDORS[phone_system.vendor].LABEL,
        waiting=waiting(phone_system, now()),
        **instructions(phone_system, password),
    )
