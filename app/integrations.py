"""What phone systems, payment accounts and API credentials have in common: a tenant's own rows with one secret that is
sent somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.pagination import PageQuery, fetch_page
from app.tenancy import TenantOwned

T = TypeVar("T", bound=TenantOwned)


@dataclass(frozen=True)
class Notice:
    """Something that a change brought with it and that its sender should know."""

    field: str
    message: str


def list_rows(session: Session, model: type[T], tenant_id: UUID, page: PageQuery) -> tuple[list[T], str | None]:
    """A page of the tenant's rows, newest first, and the cursor of the next page or None."""
    return fetch_page(session, select(model).where(model.tenant_id == tenant_id), [model.id], page)


def get_row(session: Session, model: type[T], tenant_id: UUID, row_id: UUID, *, to_change: bool = False) -> T:
    """The tenant's row with that id; with ``to_change``, nobody else changes it until the transaction ends.

    Raises :class:`~app.errors.NotFound`, the same for an id that is unknown and for another tenant's.
    """
    statement = select(model).where(model.tenant_id == tenant_id, model.id == row_id)
    row = session.scalars(statement.with_for_update() if to_change else statement).one_or_none()
    if row is None:
        raise NotFound("There is nothing here under this id.")
    return row


def change_row(row: TenantOwned, changes: Mapping[str, Any], *, secret: str, sent_to: Sequence[str]) -> list[Notice]:
    """Set the attributes that ``changes`` has. A stored secret was entered for where it is sent: changing any of
    ``sent_to`` removes it, with a notice, unless ``changes`` has it again."""
    moved = [name for name in sent_to if name in changes and changes[name] != getattr(row, name)]
    for name, value in changes.items():
        setattr(row, name, value)
    if not moved or secret in changes or not getattr(row, f"{secret}_set"):
        return []
    setattr(row, secret, None)
    return [Notice(secret, f"was removed, because {' and '.join(moved)} changed: enter it again")]
