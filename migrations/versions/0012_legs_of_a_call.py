"""An index that has the legs of a call in their order

Revision: 0012, after 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEX = "ix_calls_tenant_id_linked_id_started_at_id"


def upgrade() -> None:
    op.create_index(op.f(INDEX), "calls", ["tenant_id", "linked_id", "started_at", "id"])


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name="calls")
