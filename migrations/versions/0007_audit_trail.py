"""The audit trail, which is only added to

Revision: 0007, after 0006

The database itself refuses to change an event, whoever asks. The web role may not delete one either.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp, storage_columns
from app.tenancy.floor import open_to_web_role

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

REFUSE_CHANGES = {
    "postgresql": """
        CREATE FUNCTION refuse_change_of_audit_event() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'an audit event is never changed'; END $$;
        CREATE TRIGGER append_only BEFORE UPDATE ON audit_events
        FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit_event()
    """,
    "sqlite": """
        CREATE TRIGGER append_only BEFORE UPDATE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'an audit event is never changed'); END
    """,
}


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", sa.Uuid),
        sa.Column("occurred_at", UtcTimestamp(), nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("actor_type", sa.String, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("actor_name", sa.String, nullable=False),
        sa.Column("object_id", sa.Uuid),
        sa.Column("address", sa.String),
        sa.Column("request_id", sa.String),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_events_tenant_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_audit_events_tenant_id_id")),
        sa.CheckConstraint("outcome IN ('success', 'refused')", name=op.f("ck_audit_events_outcome")),
        sa.CheckConstraint("count > 0", name=op.f("ck_audit_events_count")),
    )
    op.execute(REFUSE_CHANGES[op.get_bind().dialect.name])
    open_to_web_role(op.get_bind(), "audit_events", "SELECT, INSERT", owned_by="tenant_id")
    op.create_table(
        "audit_seals",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sealed_at", UtcTimestamp(), nullable=False),
        *storage_columns("content", "audit_seals.content", owner=None),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_seals")),
    )
    op.create_index(op.f("ix_audit_seals_number"), "audit_seals", ["number"], unique=True)


def downgrade() -> None:
    op.drop_table("audit_seals")
    op.drop_table("audit_events")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_audit_event()")
