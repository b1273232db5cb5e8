"""Ties the legs of a call together: what is counted are calls, what is delivered are legs, in any order, some of them
at the same moment.

The earliest leg opens the call and stands for it: it alone is read for a figure, however many legs there are, and says
who called, when, and what became of the call. So each delivery looks at the other legs of its call once, and no figure
ever does. Before the others are looked at, a lock is taken for each call: of two legs that arrive at once, whichever is
second sees the first.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, bindparam, case, func, or_, select, text, update

from app.calls.models import Call

# The further ahead, the more it says of a call: of one that rang at three telephones and was answered at one, that it
# was answered.
_RANKS: Final = ("answered", "voicemail", "busy", "no_answer", "failed", "other")


def tie(connection: Connection, tenant_id: UUID, phone_system_id: UUID, linked_ids: Collection[str]) -> None:
    """Tie the legs of these calls of a phone system, some of which the open transaction has just stored."""
    if connection.dialect.name == "postgresql":  # SQLite lets one write at a time anyway
        calls = sorted(f"{phone_system_id} {linked_id}" for linked_id in linked_ids)  # nobody waits in a circle
        connection.execute(_LOCK, {"calls": calls})
    parameters = {"of_tenant": tenant_id, "of_phone_system": phone_system_id, "of_calls": list(linked_ids)}
    connection.execute(_TIE, parameters)


_LOCK: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(call, 0)) FROM unnest(CAST(:calls AS text[])) AS call"
)


def _tie() -> Any:
    calls: Any = Call.__table__
    rank = case({name: number for number, name in enumerate(_RANKS)}, value=calls.c.disposition)
    talk = case((calls.c.disposition == "answered", calls.c.talk_seconds))
    legs = (
        select(
            calls.c.id,
            func.row_number()
            .over(partition_by=calls.c.linked_id, order_by=(calls.c.started_at, calls.c.id))
            .label("place"),
            func.max(talk).over(partition_by=calls.c.linked_id).label("talk"),
            func.min(rank).over(partition_by=calls.c.linked_id).label("rank"),
            func.count().over(partition_by=calls.c.linked_id).label("legs"),
        )
        .where(
            calls.c.tenant_id == bindparam("of_tenant"),
            calls.c.phone_system_id == bindparam("of_phone_system"),
            calls.c.linked_id.in_(bindparam("of_calls", expanding=True)),
        )
        .subquery("legs")
    )
    tied = {
        "opens_call": legs.c.place == 1,
        "call_disposition": case(dict(enumerate(_RANKS)), value=legs.c.rank),
        "call_talk_seconds": legs.c.talk,
    }
    changed = or_(*(calls.c[name].is_distinct_from(value) for name, value in tied.items()))
    return update(calls).where(calls.c.id == legs.c.id, legs.c.legs > 1, changed).values(tied)


_TIE: Final = _tie()
