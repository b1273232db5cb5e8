"""Which way calls went, whose extension took part, and their numbers in E.164; the country of tenants

The table is locked for seconds, also with a million calls: no row is written, and the CHECK and the index, over
columns in which no row has a value yet, only read them once. `flask calls describe-again` fills them.

Revision: 0017, after 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.tenancy.floor import close_to_web_role, open_to_web_role

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INDEX = "ix_calls_tenant_id_extension_started_at_id"
PRIVILEGES = "UPDATE (country)"

# With its CHECK as a part of it: SQLite has no other way to add one but to write the table anew.
DIRECTION = """
    ALTER TABLE calls ADD COLUMN direction VARCHAR
    CONSTRAINT ck_calls_direction CHECK (direction IN ('inbound', 'outbound', 'internal', 'unknown'))
"""


def upgrade() -> None:
    op.add_column("tenants", sa.Column("country", sa.String))
    open_to_web_role(op.get_bind(), "tenants", PRIVILEGES)
    for column in ("extension", "source_e164", "destination_e164"):
        op.add_column("calls", sa.Column(column, sa.String))
    op.execute(DIRECTION)
    has_one = sa.text("extension IS NOT NULL")
    columns = ["tenant_id", "extension", "started_at", "id"]
    op.create_index(op.f(INDEX), "calls", columns, postgresql_where=has_one, sqlite_where=has_one)


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name="calls")
    for column in ("direction", "destination_e164", "source_e164", "extension"):
        op.drop_column("calls", column)
    close_to_web_role(op.get_bind(), "tenants", PRIVILEGES)
    op.drop_column("tenants", "country")
