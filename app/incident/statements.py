"""What the report asks the database: each statement in the order of the tenants' ids, which come first in its rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, Table, func, null, or_, select

from app.encryption.storage import EncryptedColumn
from app.extensions import db
from app.identity.models import Role
from app.incident.kinds import KINDS
from app.incident.trail import ACTIONS

CLOCKS_DIFFER: Final = timedelta(hours=1)  # between whoever makes an event's id and its time


def table(name: str) -> Table:
    return db.metadata.tables[name]


def tenants() -> Select[Any]:
    owned = table("tenants")
    return select(owned.c.id, owned.c.name, owned.c.subdomain, owned.c.suspended_at).order_by(owned.c.id)


def events(since: datetime) -> Select[Any]:
    """Those that tell of secrets. By their ids, which are in the order of time and in an index."""
    events = table("audit_events")
    columns = (events.c.tenant_id, events.c.id, events.c.action, events.c.object_id, events.c.occurred_at)
    number = events.c.count.label("number")  # a row has a method of the other name
    return (
        select(*columns, number, events.c.details)
        .where(events.c.tenant_id.is_not(None), events.c.action.in_(ACTIONS), events.c.id >= _first_id(since))
        .order_by(events.c.tenant_id, events.c.id)
    )


def _first_id(since: datetime) -> UUID:
    """What no UUIDv7 of that time or later is below: milliseconds since 1970 are its first 48 bits."""
    milliseconds = int((since.timestamp() - CLOCKS_DIFFER.total_seconds()) * 1000)
    return UUID(int=max(0, milliseconds) << 80)


def addressees() -> Select[Any]:
    """Owners and admins; ``disabled`` are those who cannot sign in."""
    users, members = table("users"), table("memberships")
    disabled = or_(members.c.disabled_at.is_not(None), users.c.disabled_at.is_not(None))
    return (
        select(members.c.tenant_id, members.c.id, users.c.email, members.c.role, disabled.label("disabled"))
        .join_from(members, users, members.c.user_id == users.c.id)
        .where(members.c.role.in_([Role.OWNER, Role.ADMIN]))
        .order_by(members.c.tenant_id, members.c.id)
    )


def values(column: EncryptedColumn, since: datetime) -> Select[Any]:
    """The rows that have a value, or had one since. The value itself is not read."""
    table = column.table
    names = {*KINDS[column.name].named_by, "provider"} & set(table.c.keys())
    used_at = column.used_at if column.used_at is not None else table.c.get("last_used_at")
    return (
        select(
            table.c.tenant_id,
            table.c.id,
            column.key_id.label("key_id"),
            column.changed_at.label("changed_at"),
            (used_at if used_at is not None else null()).label("used_at"),
            *(table.c[name] for name in sorted(names)),
        )
        .where(or_(column.key_id.is_not(None), column.changed_at >= since))
        .order_by(table.c.tenant_id, table.c.id)
    )


def values_of_users(column: EncryptedColumn, since: datetime) -> Select[Any]:
    """As above, of the members of each tenant."""
    users, members = column.table, table("memberships")
    return (
        select(
            members.c.tenant_id,
            users.c.id,
            users.c.email,
            users.c.totp_used_step,
            column.key_id.label("key_id"),
            column.changed_at.label("changed_at"),
        )
        .join_from(members, users, members.c.user_id == users.c.id)
        .where(or_(column.key_id.is_not(None), column.changed_at >= since))
        .order_by(members.c.tenant_id, users.c.id)
    )


def sessions(since: datetime) -> Select[Any]:
    """The members who used a session since."""
    users, members, sessions = table("users"), table("memberships"), table("sessions")
    of_member = sessions.join(members, sessions.c.membership_id == members.c.id)
    return (
        select(
            sessions.c.tenant_id,
            members.c.id,
            users.c.email,
            func.count().label("sessions"),
            func.min(sessions.c.started_at).label("started_at"),
            func.max(sessions.c.used_at).label("used_at"),
        )
        .select_from(of_member.join(users, members.c.user_id == users.c.id))
        .where(sessions.c.used_at >= since)
        .group_by(sessions.c.tenant_id, members.c.id, users.c.email)
        .order_by(sessions.c.tenant_id, members.c.id)
    )
