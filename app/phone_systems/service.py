"""What can be done with phone systems. Every function sees the rows of the one tenant that it is given."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.calls import service as calls
from app.integrations import Notice, change_row, get_row, list_rows
from app.pagination import PageQuery
from app.phone_systems.models import PhoneSystem

WEBHOOK_USERNAME: Final = "pbx"


def create(session: Session, tenant_id: UUID, values: Mapping[str, Any]) -> tuple[PhoneSystem, str | None]:
    """A new phone system with the attributes ``values``, and its webhook password if that was generated."""
    generated = secrets.token_urlsafe(24) if values.get("webhook_password") is None else None
    phone_system = PhoneSystem(tenant_id=tenant_id, **values)
    phone_system.webhook_username = phone_system.webhook_username or WEBHOOK_USERNAME
    if generated is not None:
        phone_system.webhook_password = generated
    session.add(phone_system)
    session.commit()
    return phone_system, generated


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[PhoneSystem], str | None]:
    """The tenant's phone systems, newest first, and the cursor of the next page or None."""
    return list_rows(session, PhoneSystem, tenant_id, page)


def get(session: Session, tenant_id: UUID, phone_system_id: UUID) -> PhoneSystem:
    """Raises :class:`~app.errors.NotFound`."""
    return get_row(session, PhoneSystem, tenant_id, phone_system_id)


def update(
    session: Session, tenant_id: UUID, phone_system_id: UUID, changes: Mapping[str, Any]
) -> tuple[PhoneSystem, list[Notice]]:
    """The changed phone system, and what its sender should know. Raises :class:`~app.errors.NotFound`."""
    phone_system = get_row(session, PhoneSystem, tenant_id, phone_system_id, to_change=True)
    notices = change_row(phone_system, changes, secret="password", sent_to=["base_url"])
    session.commit()
    return phone_system, notices


def delete(session: Session, tenant_id: UUID, phone_system_id: UUID) -> None:
    """Delete a phone system; its call records stay. Raises :class:`~app.errors.NotFound`."""
    phone_system = get_row(session, PhoneSystem, tenant_id, phone_system_id, to_change=True)
    calls.detach_phone_system(session, tenant_id, phone_system_id)
    session.delete(phone_system)
    session.commit()
