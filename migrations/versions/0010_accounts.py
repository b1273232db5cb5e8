"""Sign-ups, invitations and one-time tokens; members can be disabled, and have a version

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp
from app.tenancy.floor import close_to_web_role, open_to_web_role

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What requests could not do with these tables so far: people join, change and leave teams, and sign up.
FURTHER_PRIVILEGES = {"memberships": "INSERT, UPDATE, DELETE", "users": "INSERT", "tenants": "INSERT"}


def upgrade() -> None:
    op.add_column("memberships", sa.Column("disabled_at", UtcTimestamp()))
    op.add_column("memberships", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    create_sign_ups()
    create_invitations()
    create_one_time_tokens()
    for table, privileges in FURTHER_PRIVILEGES.items():
        open_to_web_role(op.get_bind(), table, privileges)


def create_sign_ups() -> None:
    op.create_table(
        "sign_ups",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("tenant_name", sa.String, nullable=False),
        sa.Column("subdomain", sa.String, nullable=False),
        sa.Column("time_zone", sa.String, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("expires_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ups")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_ups_token_hash")),
    )
    open_to_web_role(op.get_bind(), "sign_ups", "SELECT, INSERT, DELETE")
    op.create_index(op.f("ix_sign_ups_email"), "sign_ups", ["email"])


def create_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("invited_by_id", sa.Uuid, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("expires_at", UtcTimestamp(), nullable=False),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("updated_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_invitations_tenant_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_invitations_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "email", name=op.f("uq_invitations_tenant_id_email")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "invited_by_id"],
            ["memberships.tenant_id", "memberships.id"],
            name=op.f("fk_invitations_tenant_id_invited_by_id"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member')", name=op.f("ck_invitations_role")),
    )
    open_to_web_role(op.get_bind(), "invitations", "SELECT, INSERT, DELETE", owned_by="tenant_id")


def create_one_time_tokens() -> None:
    op.create_table(
        "one_time_tokens",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("email", sa.String),
        sa.Column("expires_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_tokens")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_tokens_user_id"), ondelete="CASCADE"),
        sa.UniqueConstraint("user_id", "purpose", name=op.f("uq_one_time_tokens_user_id_purpose")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_tokens_token_hash")),
        sa.CheckConstraint("purpose IN ('reset_password', 'change_email')", name=op.f("ck_one_time_tokens_purpose")),
        sa.CheckConstraint("(purpose = 'change_email') = (email IS NOT NULL)", name=op.f("ck_one_time_tokens_email")),
    )
    open_to_web_role(op.get_bind(), "one_time_tokens", "SELECT, INSERT, DELETE")


def downgrade() -> None:
    for table, privileges in FURTHER_PRIVILEGES.items():
        close_to_web_role(op.get_bind(), table, privileges)
    for table in ("one_time_tokens", "invitations", "sign_ups"):
        op.drop_table(table)
    op.drop_column("memberships", "version")
    op.drop_column("memberships", "disabled_at")
