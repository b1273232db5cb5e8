"""Sessions; users can be disabled and tenants suspended

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp
from app.tenancy.floor import open_to_web_role

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("disabled_at", UtcTimestamp()))
    op.add_column("tenants", sa.Column("suspended_at", UtcTimestamp()))
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("membership_id", sa.Uuid, nullable=False),
        sa.Column("refresh_id", sa.Uuid, nullable=False),
        sa.Column("started_at", UtcTimestamp(), nullable=False),
        sa.Column("used_at", UtcTimestamp(), nullable=False),
        sa.Column("ended_at", UtcTimestamp()),
        sa.Column("address", sa.String),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sessions_tenant_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_sessions_tenant_id_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "membership_id"],
            ["memberships.tenant_id", "memberships.id"],
            name=op.f("fk_sessions_tenant_id_membership_id"),
            ondelete="CASCADE",
        ),
    )
    open_to_web_role(op.get_bind(), "sessions", "SELECT, INSERT, UPDATE, DELETE", owned_by="tenant_id")
    op.create_index(op.f("ix_sessions_membership_id_started_at"), "sessions", ["membership_id", "started_at"])


def downgrade() -> None:
    op.drop_table("sessions")
    op.drop_column("tenants", "suspended_at")
    op.drop_column("users", "disabled_at")
