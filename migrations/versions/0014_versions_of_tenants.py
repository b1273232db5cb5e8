"""Web processes may change a tenant's name and time zone, and nothing else of it; it has a version

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.tenancy.floor import close_to_web_role, open_to_web_role

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PRIVILEGES = "UPDATE (name, time_zone, updated_at, version)"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    open_to_web_role(op.get_bind(), "tenants", PRIVILEGES)


def downgrade() -> None:
    close_to_web_role(op.get_bind(), "tenants", PRIVILEGES)
    op.drop_column("tenants", "version")
