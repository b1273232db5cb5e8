"""When a user was signed out everywhere, which ends sign-ins that are under way, too

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("signed_out_at", UtcTimestamp()))


def downgrade() -> None:
    op.drop_column("users", "signed_out_at")
