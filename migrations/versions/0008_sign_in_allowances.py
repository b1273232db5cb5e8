"""How often signing in to an account failed

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp
from app.tenancy.floor import open_to_web_role

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_in_allowances",
        sa.Column("account", sa.String, nullable=False),
        sa.Column("network", sa.String, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("began_at", UtcTimestamp(), nullable=False),
        sa.PrimaryKeyConstraint("account", "network", name=op.f("pk_sign_in_allowances")),
    )
    open_to_web_role(op.get_bind(), "sign_in_allowances", "SELECT, INSERT, UPDATE, DELETE")
    op.create_index(op.f("ix_sign_in_allowances_began_at"), "sign_in_allowances", ["began_at"])


def downgrade() -> None:
    op.drop_table("sign_in_allowances")
