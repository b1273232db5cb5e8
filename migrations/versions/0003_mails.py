"""Mails that are to be sent, and what became of them

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp, storage_columns
from app.tenancy.floor import open_to_web_role

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        *storage_columns("content", "mails.content", owner=None),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("due_at", UtcTimestamp(), nullable=False),
        sa.Column("expires_at", UtcTimestamp(), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("finished_at", UtcTimestamp()),
        sa.Column("provider_id", sa.String),
        sa.Column("reason", sa.String),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.CheckConstraint("state IN ('queued', 'sent', 'refused', 'given_up')", name=op.f("ck_mails_state")),
        sa.CheckConstraint("state = 'queued' OR content_encrypted IS NULL", name=op.f("ck_mails_content_removed")),
    )
    open_to_web_role(op.get_bind(), "mails", "SELECT, INSERT, UPDATE, DELETE")
    op.create_index(op.f("ix_mails_state_due_at"), "mails", ["state", "due_at"])


def downgrade() -> None:
    op.drop_table("mails")
