"""The previous webhook password, first uses, who set a secret, and indexes for the health of phone systems

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

from app.encryption.storage import SealedText, UtcTimestamp, sealed_check, storage_columns

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ATTRIBUTE = "previous_webhook_password"
SECRETS = {
    "phone_systems": ("password", "webhook_password"),
    "payment_accounts": ("client_secret",),
    "api_credentials": ("secret",),
}
# Until now the webhook password was the only one that a delivery could use.
FIRST_USED = """
    UPDATE phone_systems SET webhook_password_used_at = (
        SELECT min(received_at) FROM calls
        WHERE phone_system_id = phone_systems.id AND NOT demonstration AND received_at > webhook_password_changed_at
    )
    WHERE webhook_password_encrypted IS NOT NULL
"""


def upgrade() -> None:
    for table, attributes in SECRETS.items():
        for attribute in attributes:
            op.add_column(table, sa.Column(f"{attribute}_changed_by", sa.String))
    storage, *others = storage_columns(ATTRIBUTE, f"phone_systems.{ATTRIBUTE}")
    with op.batch_alter_table("phone_systems") as table:  # SQLite adds no computed column that it stores
        make_computed_columns_anew(table)
        # Not the column itself: it brings its CHECK along, and to a new table once more.
        table.add_column(sa.Column(storage.name, SealedText()))
        for column in others:
            table.add_column(column)
        table.add_column(sa.Column(f"{ATTRIBUTE}_expires_at", UtcTimestamp()))
        table.add_column(sa.Column("webhook_password_used_at", UtcTimestamp()))
        name = op.f(f"ck_phone_systems_{ATTRIBUTE}_sealed")
        table.create_check_constraint(name, sealed_check(storage.name, name).sqltext)
    op.create_index(
        op.f("ix_calls_phone_system_id_received_at"),
        "calls",
        ["phone_system_id", "received_at"],
        postgresql_where=sa.text("NOT demonstration"),
        sqlite_where=sa.text("demonstration = 0"),
    )
    op.create_index(
        op.f("ix_audit_events_tenant_id_object_id_id"),
        "audit_events",
        ["tenant_id", "object_id", "id"],
        postgresql_where=sa.text("action IN ('delivery.refused', 'delivery.unreadable')"),
        sqlite_where=sa.text("action IN ('delivery.refused', 'delivery.unreadable')"),
    )
    op.execute(FIRST_USED)


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_events_tenant_id_object_id_id"), "audit_events")
    op.drop_index(op.f("ix_calls_phone_system_id_received_at"), "calls")
    with op.batch_alter_table("phone_systems") as table:
        make_computed_columns_anew(table)
        table.drop_constraint(op.f(f"ck_phone_systems_{ATTRIBUTE}_sealed"), type_="check")
        table.drop_constraint(op.f(f"fk_phone_systems_{ATTRIBUTE}_key_id"), type_="foreignkey")
        for part in ("expires_at", "changed_at", "key_id", "encrypted"):
            table.drop_column(f"{ATTRIBUTE}_{part}")
        table.drop_column("webhook_password_used_at")
    for table, attributes in SECRETS.items():
        for attribute in attributes:
            op.drop_column(table, f"{attribute}_changed_by")


def make_computed_columns_anew(table: BatchOperations) -> None:
    """Where a new table takes the place of the old one, as on SQLite: what is computed cannot be copied to it."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for attribute in SECRETS["phone_systems"]:
        _, key_id, _ = storage_columns(attribute, f"phone_systems.{attribute}")
        table.drop_column(key_id.name)
        # Its foreign key is the table's, and stays.
        table.add_column(sa.Column(key_id.name, key_id.type, sa.Computed(key_id.computed.sqltext, persisted=True)))
