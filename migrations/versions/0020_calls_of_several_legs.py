"""Which leg opens its call, and what became of the call: what figures are counted from

Revision: 0020, after 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

INDEX = "ix_calls_opening"


def upgrade() -> None:
    # The release before leaves them as they are: each of its records counts as a call until one more leg comes.
    op.add_column("calls", sa.Column("opens_call", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("calls", sa.Column("call_disposition", sa.String(), nullable=True))
    op.add_column("calls", sa.Column("call_talk_seconds", sa.Integer(), nullable=True))
    op.execute(TIE)
    op.create_index(
        op.f(INDEX),
        "calls",
        ["tenant_id", "started_at"],
        postgresql_include=[
            *("source", "source_e164", "destination", "destination_e164", "direction"),
            *("disposition", "talk_seconds", "call_disposition", "call_talk_seconds"),
        ],
        postgresql_where=sa.text("opens_call"),
        sqlite_where=sa.text("opens_call = 1"),
    )


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name="calls")
    for column in ("call_talk_seconds", "call_disposition", "opens_call"):
        op.drop_column("calls", column)


# As app.calls.legs does it for the records of a delivery.
TIE = """
    UPDATE calls SET opens_call = (legs.place = 1), call_talk_seconds = legs.talk, call_disposition =
        CASE legs.rank WHEN 0 THEN 'answered' WHEN 1 THEN 'voicemail' WHEN 2 THEN 'busy' WHEN 3 THEN 'no_answer'
        WHEN 4 THEN 'failed' ELSE 'other' END
    FROM (
        SELECT id, row_number() OVER (one_call ORDER BY started_at, id) AS place,
            max(talk) OVER one_call AS talk, min(rank) OVER one_call AS rank, count(*) OVER one_call AS legs
        FROM (
            SELECT id, tenant_id, phone_system_id, linked_id, started_at,
                CASE WHEN disposition = 'answered' THEN talk_seconds END AS talk,
                CASE disposition WHEN 'answered' THEN 0 WHEN 'voicemail' THEN 1 WHEN 'busy' THEN 2
                WHEN 'no_answer' THEN 3 WHEN 'failed' THEN 4 ELSE 5 END AS rank
            FROM calls WHERE linked_id IS NOT NULL
        ) AS read
        WINDOW one_call AS (PARTITION BY tenant_id, phone_system_id, linked_id)
    ) AS legs
    WHERE calls.id = legs.id AND legs.legs > 1
"""
