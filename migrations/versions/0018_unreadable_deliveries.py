"""Deliveries that could not be read, kept for the tenant to see

Revision: 0018, after 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp, storage_columns
from app.tenancy.floor import open_to_web_role

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLE = "unreadable_deliveries"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("phone_system_id", sa.Uuid, nullable=False),
        sa.Column("received_at", UtcTimestamp(), nullable=False),
        sa.Column("content_type", sa.String),
        sa.Column("size", sa.Integer),
        sa.Column("reason", sa.String, nullable=False),
        *storage_columns("content", f"{TABLE}.content"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{TABLE}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{TABLE}_tenant_id")),
        # The release before knows nothing of this table, and deletes phone systems all the same.
        sa.ForeignKeyConstraint(
            ["tenant_id", "phone_system_id"],
            ["phone_systems.tenant_id", "phone_systems.id"],
            name=op.f(f"fk_{TABLE}_tenant_id_phone_system_id"),
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("tenant_id", "id", name=op.f(f"uq_{TABLE}_tenant_id_id")),
    )
    columns = ["tenant_id", "phone_system_id", "id"]
    op.create_index(op.f(f"ix_{TABLE}_tenant_id_phone_system_id_id"), TABLE, columns)
    open_to_web_role(op.get_bind(), TABLE, "SELECT, INSERT, DELETE", owned_by="tenant_id")


def downgrade() -> None:
    op.drop_table(TABLE)
