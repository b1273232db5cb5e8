"""What makes a row a tenant's own."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import primary_key


class TenantOwned:
    """A row that belongs to one tenant. Its model lists :func:`tenant_key` among its table arguments, and
    :func:`belongs_to` for each reference to another row of the same tenant, so that the database refuses a row that
    crosses tenants."""

    id: Mapped[UUID] = primary_key()
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))


def tenant_key() -> UniqueConstraint:
    """What composite foreign keys point to."""
    return UniqueConstraint("tenant_id", "id")


def belongs_to(table: str, column: str, ondelete: str | None = None) -> ForeignKeyConstraint:
    """A composite foreign key to a row of the same tenant: ``(tenant_id, column)`` to ``table (tenant_id, id)``."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"], ondelete=ondelete)
