"""For how many days a tenant keeps its call records

Revision: 0019, after 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.tenancy.floor import close_to_web_role, open_to_web_role

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

PRIVILEGES = "UPDATE (call_retention_days)"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("call_retention_days", sa.Integer, nullable=True))
    open_to_web_role(op.get_bind(), "tenants", PRIVILEGES)


def downgrade() -> None:
    close_to_web_role(op.get_bind(), "tenants", PRIVILEGES)
    op.drop_column("tenants", "call_retention_days")
