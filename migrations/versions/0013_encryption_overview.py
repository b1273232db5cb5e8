"""Web processes may read how rotations went

Revision: 0013, after 0012
"""

from __future__ import annotations

from alembic import op

from app.tenancy.floor import close_to_web_role, open_to_web_role

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    open_to_web_role(op.get_bind(), "encryption_rotations", "SELECT")


def downgrade() -> None:
    close_to_web_role(op.get_bind(), "encryption_rotations", "SELECT")
