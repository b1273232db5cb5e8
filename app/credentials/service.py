"""What can be done with API credentials. Every function sees the rows of the one tenant that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.credentials.models import ApiCredential
from app.integrations import Notice, change_row, get_row, list_rows
from app.pagination import PageQuery


def create(session: Session, tenant_id: UUID, values: Mapping[str, Any]) -> ApiCredential:
    """A new API credential with the attributes ``values``."""
    credential = ApiCredential(tenant_id=tenant_id, **values)
    session.add(credential)
    session.commit()
    return credential


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[ApiCredential], str | None]:
    """The tenant's API credentials, newest first, and the cursor of the next page or None."""
    return list_rows(session, ApiCredential, tenant_id, page)


def get(session: Session, tenant_id: UUID, credential_id: UUID) -> ApiCredential:
    """Raises :class:`~app.errors.NotFound`."""
    return get_row(session, ApiCredential, tenant_id, credential_id)


def update(
    session: Session, tenant_id: UUID, credential_id: UUID, changes: Mapping[str, Any]
) -> tuple[ApiCredential, list[Notice]]:
    """The changed API credential, and what its sender should know. Raises :class:`~app.errors.NotFound`."""
    credential = get_row(session, ApiCredential, tenant_id, credential_id, to_change=True)
    notices = change_row(credential, changes, secret="secret", sent_to=["provider"])
    session.commit()
    return credential, notices


def delete(session: Session, tenant_id: UUID, credential_id: UUID) -> None:
    """Raises :class:`~app.errors.NotFound`."""
    session.delete(get_row(session, ApiCredential, tenant_id, credential_id, to_change=True))
    session.commit()
