"""The first tables: encryption keys, tenants, users, memberships, integrations, calls

Revision: 0001, after None
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import SealedText, UtcTimestamp, sealed_check, storage_columns

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "encryption_keys",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("canary", SealedText(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encryption_keys")),
        sa.UniqueConstraint("generation", name=op.f("uq_encryption_keys_generation")),
        sealed_check("canary", op.f("ck_encryption_keys_canary_sealed")),
    )
    op.create_table(
        "retired_encryption_keys",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("retired_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retired_encryption_keys")),
    )
    op.create_table(
        "encryption_rotations",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("from_key_ids", sa.Text, nullable=False),
        sa.Column("to_key_id", sa.String(8), nullable=False),
        sa.Column("started_at", UtcTimestamp(), nullable=False),
        sa.Column("finished_at", UtcTimestamp()),
        sa.Column("planned", sa.Integer, nullable=False),
        sa.Column("rotated", sa.Integer, nullable=False),
        sa.Column("unreadable", sa.Integer, nullable=False),
        sa.Column("proved", sa.Integer),
        sa.Column("remaining", sa.Integer),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encryption_rotations")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("subdomain", sa.String, nullable=False),
        sa.Column("time_zone", sa.String, nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("subdomain", name=op.f("uq_tenants_subdomain")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("password_hash", sa.String, nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "memberships",
        *tenant_owned("memberships"),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        *timestamps(),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.UniqueConstraint("user_id", "tenant_id", name=op.f("uq_memberships_user_id_tenant_id")),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member')", name=op.f("ck_memberships_role")),
    )
    op.create_table(
        "phone_systems",
        *tenant_owned("phone_systems"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("vendor", sa.String, nullable=False),
        sa.Column("base_url", sa.String),
        sa.Column("username", sa.String),
        *encrypted("phone_systems", "password"),
        sa.Column("webhook_username", sa.String),
        *encrypted("phone_systems", "webhook_password"),
        sa.Column("time_zone", sa.String),
        *timestamps(),
    )
    op.create_table(
        "payment_accounts",
        *tenant_owned("payment_accounts"),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("client_id", sa.String),
        *encrypted("payment_accounts", "client_secret"),
        sa.Column("webhook_id", sa.String),
        *timestamps(),
        sa.CheckConstraint("mode IN ('sandbox', 'live')", name=op.f("ck_payment_accounts_mode")),
    )
    op.create_table(
        "api_credentials",
        *tenant_owned("api_credentials"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        *encrypted("api_credentials", "secret"),
        sa.Column("expires_at", UtcTimestamp()),
        *timestamps(),
    )
    op.create_table(
        "calls",
        *tenant_owned("calls"),
        sa.Column("phone_system_id", sa.Uuid),
        sa.Column("record_key", sa.String, nullable=False),
        sa.Column("linked_id", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("destination", sa.String, nullable=False),
        sa.Column("caller_name", sa.String),
        sa.Column("started_at", UtcTimestamp(), nullable=False),
        sa.Column("answered_at", UtcTimestamp()),
        sa.Column("ended_at", UtcTimestamp()),
        sa.Column("duration_seconds", sa.Integer, nullable=False),
        sa.Column("talk_seconds", sa.Integer, nullable=False),
        sa.Column("disposition", sa.String, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("demonstration", sa.Boolean, nullable=False),
        sa.Column("received_at", UtcTimestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "phone_system_id"],
            ["phone_systems.tenant_id", "phone_systems.id"],
            name=op.f("fk_calls_tenant_id_phone_system_id"),
        ),
        sa.UniqueConstraint("phone_system_id", "record_key", name=op.f("uq_calls_phone_system_id_record_key")),
        sa.CheckConstraint(
            "disposition IN ('answered', 'no_answer', 'busy', 'failed', 'voicemail', 'other')",
            name=op.f("ck_calls_disposition"),
        ),
    )
    op.create_index(op.f("ix_calls_tenant_id_started_at_id"), "calls", ["tenant_id", "started_at", "id"])


def downgrade() -> None:
    for table in (
        "calls",
        "api_credentials",
        "payment_accounts",
        "phone_systems",
        "memberships",
        "users",
        "tenants",
        "encryption_rotations",
        "retired_encryption_keys",
        "encryption_keys",
    ):
        op.drop_table(table)


def timestamps() -> list[sa.Column]:
    return [
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("updated_at", UtcTimestamp(), nullable=False),
    ]


def tenant_owned(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f(f"uq_{table}_tenant_id_id")),
    ]


def encrypted(table: str, attribute: str) -> list[sa.Column]:
    return storage_columns(attribute, f"{table}.{attribute}")
