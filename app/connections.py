"""Whether the database has room for the connections that the web processes may open."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from app.config import Settings
from app.database import POOL_SIZE

# Beside the web processes': for a migration, or a rotation with two workers, which has connections of its own.
SPARE: Final = 3

# A login may be allowed less than the server has: that is how plans of hosting limit it. LEAST passes over NULL.
_OFFERED: Final = text(
    "SELECT least(current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true)::int, 0),"
    " nullif(rolconnlimit, -1), nullif(datconnlimit, -1))"
    " FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()"
)


class Room(NamedTuple):
    """How many connections the database offers this login, and how many this machine may need."""

    offered: int
    needed: int


def room_for(connection: Connection, web_concurrency: int) -> Room | None:
    """The room for so many web processes, with all their connections open, and a command beside them.

    None on SQLite, which knows no such limit. Other machines, and a deployment that starts new processes beside the old
    ones, need theirs on top.
    """
    if connection.dialect.name == "sqlite":
        return None
    return Room(connection.execute(_OFFERED).scalar_one(), web_concurrency * POOL_SIZE + SPARE)


def check_connections(connection: Connection, settings: Settings) -> list[str]:
    """What to tell the operator: nothing where there is room, or a pooler in front of the database sees to it."""
    if settings.rotation_database_url is not None:
        return []
    room = room_for(connection, settings.web_concurrency)
    if room is None or room.needed <= room.offered:
        return []
    return [
        f"this machine may need {room.needed} connections to the database, which has {room.offered} for this login: "
        "lower WEB_CONCURRENCY, or raise what the database allows"
    ]
