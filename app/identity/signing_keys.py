"""Since when each JWT secret is in use: what tells an old one, and one that can be dropped, is not in the secret."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from app.database import now
from app.identity.models import SigningKey

_KEYS = SigningKey.metadata.tables[SigningKey.__tablename__]


def register(connection: Connection, key_id: str) -> None:
    """Remember that a secret, known by its public id, is the one that signs. Once: a second time changes nothing.

    In the system's scope; ends the connection's transaction.
    """
    known = connection.execute(select(_KEYS.c.id).where(_KEYS.c.id == key_id)).first()
    if known is None:
        try:
            connection.execute(_KEYS.insert().values(id=key_id, first_used_at=now()))
        except IntegrityError:  # another process was first
            connection.rollback()
    connection.commit()


def first_used(connection: Connection, key_id: str) -> datetime | None:
    """Since when a secret signs, in UTC; None if it never did, or not since this was written down."""
    return connection.execute(select(_KEYS.c.first_used_at).where(_KEYS.c.id == key_id)).scalar()
