"""A second factor of users, and API keys of tenants

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import SealedText, UtcTimestamp, sealed_check, storage_columns
from app.tenancy.floor import open_to_web_role

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ATTRIBUTES = ("totp_secret", "recovery_code_hashes")


def upgrade() -> None:
    with op.batch_alter_table("users") as users:  # SQLite adds no computed column that it stores: it makes a new table
        for attribute in ATTRIBUTES:
            storage, *others = storage_columns(attribute, f"users.{attribute}", owner="id")
            # Not the column itself: it brings its CHECK along, and to a new table once more.
            users.add_column(sa.Column(storage.name, SealedText()))
            for column in others:
                users.add_column(column)
            name = op.f(f"ck_users_{attribute}_sealed")
            users.create_check_constraint(name, sealed_check(storage.name, name).sqltext)
        users.add_column(sa.Column("totp_confirmed_at", UtcTimestamp()))
        users.add_column(sa.Column("totp_used_step", sa.Integer))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        *storage_columns("token_hash", "api_keys.token_hash"),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("expires_at", UtcTimestamp()),
        sa.Column("last_used_at", UtcTimestamp()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_api_keys_tenant_id_id")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
        sa.CheckConstraint("role IN ('admin', 'member')", name=op.f("ck_api_keys_role")),
    )
    open_to_web_role(op.get_bind(), "api_keys", "SELECT, INSERT, UPDATE, DELETE", owned_by="tenant_id")


def downgrade() -> None:
    op.drop_table("api_keys")
    with op.batch_alter_table("users") as users:
        users.drop_column("totp_used_step")
        users.drop_column("totp_confirmed_at")
        for attribute in reversed(ATTRIBUTES):
            users.drop_constraint(op.f(f"ck_users_{attribute}_sealed"), type_="check")
            users.drop_constraint(op.f(f"fk_users_{attribute}_key_id"), type_="foreignkey")
            for part in ("changed_at", "key_id", "encrypted"):
                users.drop_column(f"{attribute}_{part}")
