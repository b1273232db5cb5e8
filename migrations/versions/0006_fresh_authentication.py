"""When the user of a session last proved who they are

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.encryption.storage import UtcTimestamp

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("authenticated_at", UtcTimestamp()))


def downgrade() -> None:
    op.drop_column("sessions", "authenticated_at")
