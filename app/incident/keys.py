"""The life of a key, as far as the database knows it, and whether a secret was ever under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from sqlalchemy import Connection, select

from app.encryption.registry import KeyRegistry
from app.identity.models import SigningKey

_SIGNING = SigningKey.metadata.tables[SigningKey.__tablename__]


@dataclass(frozen=True)
class KeyLife:
    """A master key, or a JWT secret if ``signs``. In use from ``began_at`` to ``ended_at``, each None where that is
    not known, or not over. moves: when rotations from it or to it began and ended."""

    id: str
    signs: bool
    began_at: datetime | None = None
    ended_at: datetime | None = None
    moves: tuple[tuple[datetime, datetime | None], ...] = ()

    def was_in_use(self, since: datetime | None, until: datetime | None) -> bool:
        """At any time in between; None leaves that side open."""
        began_before_end = self.began_at is None or until is None or self.began_at <= until
        return began_before_end and (self.ended_at is None or since is None or since <= self.ended_at)

    def may_have_sealed(self, key_id: str | None, set_at: datetime | None, gone_at: datetime | None) -> bool:
        """Whether a value was ever under it, as far as that can be known; in doubt it was.

        key_id: what the value is under now; None for one that is gone, of which nobody wrote that down.
        """
        if self.signs:
            return False
        if key_id is None:
            return self.was_in_use(set_at, gone_at)
        moved = any(set_at is None or ended is None or set_at <= ended for _, ended in self.moves)
        return key_id == self.id or moved


def find_key(connection: Connection, registry: KeyRegistry, key_id: str) -> KeyLife | None:
    """The key with that id; None if the database has never seen it."""
    registered = connection.execute(select(registry.keys.c.created_at).where(registry.keys.c.id == key_id)).scalar()
    retired = connection.execute(select(registry.retired.c.retired_at).where(registry.retired.c.id == key_id)).scalar()
    found = connection.execute(select(registry.rotations).order_by(registry.rotations.c.id)).all()
    rotations = [row for row in found if key_id and key_id in (row.to_key_id, *row.from_key_ids.split(","))]
    if registered is not None or retired is not None or rotations:
        moves = tuple((row.started_at, row.finished_at) for row in rotations)
        return KeyLife(key_id, False, registered, None if registered is not None else retired, moves)
    signing = connection.execute(select(_SIGNING).order_by(_SIGNING.c.first_used_at, _SIGNING.c.id)).all()
    for row, following in zip_longest(signing, signing[1:]):
        if row.id == key_id:
            return KeyLife(key_id, True, row.first_used_at, following.first_used_at if following else None)
    return None
