"""What can be done with payment accounts. Every function sees the rows of the one tenant that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.integrations import Notice, change_row, get_row, list_rows
from app.pagination import PageQuery
from app.payments.models import PaymentAccount


def create(session: Session, tenant_id: UUID, values: Mapping[str, Any]) -> PaymentAccount:
    """A new payment account with the attributes ``values``."""
    payment_account = PaymentAccount(tenant_id=tenant_id, **values)
    session.add(payment_account)
    session.commit()
    return payment_account


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[PaymentAccount], str | None]:
    """The tenant's payment accounts, newest first, and the cursor of the next page or None."""
    return list_rows(session, PaymentAccount, tenant_id, page)


def get(session: Session, tenant_id: UUID, payment_account_id: UUID) -> PaymentAccount:
    """Raises :class:`~app.errors.NotFound`."""
    return get_row(session, PaymentAccount, tenant_id, payment_account_id)


def update(
    session: Session, tenant_id: UUID, payment_account_id: UUID, changes: Mapping[str, Any]
) -> tuple[PaymentAccount, list[Notice]]:
    """The changed payment account, and what its sender should know. Raises :class:`~app.errors.NotFound`."""
    payment_account = get_row(session, PaymentAccount, tenant_id, payment_account_id, to_change=True)
    notices = change_row(payment_account, changes, secret="client_secret", sent_to=["provider", "mode"])
    session.commit()
    return payment_account, notices


def delete(session: Session, tenant_id: UUID, payment_account_id: UUID) -> None:
    """Raises :class:`~app.errors.NotFound`."""
    session.delete(get_row(session, PaymentAccount, tenant_id, payment_account_id, to_change=True))
    session.commit()
