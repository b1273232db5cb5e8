"""Sessions: a sign-in, from its start until it is ended, idle for too long, or too old.

A session is used by renewing it, or, in a browser, which has nothing to renew it with, by each request. The refresh
tokens of a session are one family. Each is good for one use, which gives the next; one that is used again
was copied, and nobody can tell by whom it was used first: that ends the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast
from uuid import UUID, uuid4

from flask import Flask, current_app
from sqlalchemy import ColumnElement, CursorResult, bindparam, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.audit import service as audit
from app.database import now, uuid7
from app.errors import Unauthenticated
from app.extensions import Model
from app.identity.models import Membership, User, UserSession
from app.metrics.counted import counted
from app.pagination import Listing, PageQuery
from app.tenancy import system_scope

LONGEST_USER_AGENT: Final = 255
NOTED_ONCE_IN: Final = timedelta(minutes=1)
KEPT: Final = timedelta(days=30)  # after its end, for whoever has to find out what happened


@dataclass(frozen=True)
class Lifetime:
    """How long a session lasts at the most, and how long without being used."""

    absolute: timedelta
    idle: timedelta


def init_app(app: Flask, *, absolute: timedelta, idle: timedelta) -> None:
    app.extensions["session_lifetime"] = Lifetime(absolute, idle)


def lifetime() -> Lifetime:
    """What is configured."""
    return cast(Lifetime, current_app.extensions["session_lifetime"])


def start(
    session: Session,
    membership: Membership,
    address: str | None,
    user_agent: str,
    details: Mapping[str, Any] | None = None,
    continues: SignedIn | None = None,
    session_id: UUID | None = None,
) -> UserSession:
    """A new session, committed. address, user_agent: of the client, for its user to tell sessions apart. details: for
    the audit trail.

    continues: the session from which its user changes to another of their tenants, without any proof of who they are:
    the new one is as fresh and as old as that. session_id: the id that it gets, for what may begin one session alone.
    Raises :class:`~app.errors.Unauthenticated` when it has begun one already.
    """
    moment = now()
    started = UserSession(
        id=session_id or uuid7(),
        tenant_id=membership.tenant_id,
        membership_id=membership.id,
        refresh_id=uuid4(),
        started_at=moment if continues is None else continues.started_at,
        used_at=moment,
        authenticated_at=moment if continues is None else continues.authenticated_at,
        address=address,
        user_agent=_printable(user_agent)[:LONGEST_USER_AGENT],
    )
    forgotten = {"membership": membership.id, "started_before": moment - lifetime().absolute - KEPT}
    session.connection().execute(_FORGET, forgotten)
    session.add(started)
    audit.record(session, "session.started", object_id=started.id, tenant_id=membership.tenant_id, details=details)
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        raise _ended() from None
    if continues is None:
        counted().sign_ins.labels("signed_in").inc()
    return started


def _printable(text: str) -> str:
    """Without what a database may refuse, and people cannot see."""
    return "".join(character for character in text if character.isprintable())


class SignedIn(NamedTuple):
    """Who a session is of, as they are now."""

    id: UUID
    started_at: datetime
    used_at: datetime
    authenticated_at: datetime | None
    membership_id: UUID
    user_id: UUID
    email: str
    tenant_id: UUID
    role: str


def find(session: Session, user_id: UUID, tenant_id: UUID, session_id: UUID) -> SignedIn:
    """Who has that session.

    Raises :class:`~app.errors.Unauthenticated` when it has ended, or its user may not sign in any more, to the tenant
    or at all.
    """
    moment, limits = now(), lifetime()
    parameters = {
        "user": user_id,
        "tenant": tenant_id,
        "session": session_id,
        "started_after": moment - limits.absolute,
        "used_after": moment - limits.idle,
    }
    found = session.connection().execute(_FIND, parameters).one_or_none()
    if found is None:
        raise _ended()
    return SignedIn._make(found)


def note_use(session: Session, signed_in: SignedIn) -> None:
    """Write down that a session is used that nobody renews, once a minute at the most: it is idle from then on. Where
    it writes it ends the transaction before, so that on SQLite one that has only read so far need not become one that
    writes."""
    moment = now()
    before = moment - NOTED_ONCE_IN
    if signed_in.used_at >= before:
        return
    session.commit()
    not_noted = UserSession.id == signed_in.id, UserSession.used_at < before
    session.execute(update(UserSession).where(*not_noted).values(used_at=moment))
    session.commit()


def get_membership(session: Session, signed_in: SignedIn) -> Membership:
    """The member who has a session, with user and tenant. Raises :class:`~app.errors.Unauthenticated` when they were
    removed at this very moment."""
    wanted = select(Membership).where(Membership.id == signed_in.membership_id)
    user = joinedload(Membership.user).load_only(User.email, User.disabled_at, User.totp_confirmed_at)  # nothing sealed
    related = user, joinedload(Membership.tenant)
    membership = session.scalars(wanted.options(*related)).one_or_none()
    if membership is None:
        raise _ended()
    return membership


def _ended() -> Unauthenticated:
    return Unauthenticated("The session has ended: sign in again.")


def set_authenticated(session: Session, session_id: UUID, details: Mapping[str, Any] | None = None) -> None:
    """Its user has just proved who they are. details: for the audit trail."""
    session.execute(update(UserSession).where(UserSession.id == session_id).values(authenticated_at=now()))
    audit.record(session, "session.authenticated_again", object_id=session_id, details=details)
    session.commit()
    counted().sign_ins.labels("proved_again").inc()


def renew(session: Session, session_id: UUID, refresh_id: UUID) -> UserSession:
    """Use a refresh token up: the session, committed, with the id of the token that follows.

    Raises :class:`~app.errors.Unauthenticated`, and ends the session, when the token was used before.
    """
    renewed = (
        update(UserSession)
        .where(UserSession.id == session_id, UserSession.refresh_id == refresh_id, _alive())
        .values(refresh_id=uuid4(), used_at=now())
        .returning(UserSession)
    )
    found = session.scalars(renewed).one_or_none()
    session.commit()
    if found is None:
        end_where(session, UserSession.id == session_id)
        audit.record(session, "session.replayed", object_id=session_id, outcome=audit.REFUSED)
        session.commit()
        raise Unauthenticated("This refresh token was used before, which ends its session: sign in again.")
    return found


def list_page(session: Session, user_id: UUID, page: PageQuery) -> tuple[list[UserSession], str | None]:
    """A page of the user's sessions that have not ended, newest first, and the cursor of the next page or None."""
    statement = select(UserSession).where(of_user(user_id), _alive())
    with_tenant = joinedload(UserSession.membership).joinedload(Membership.tenant)
    with system_scope():  # a user may be signed in to several tenants
        return Listing(statement.options(with_tenant), UserSession.id).fetch(session, page)


def last_used(session: Session, membership_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """When each of these members last started or renewed a session, of those that are not forgotten yet."""
    latest = select(UserSession.membership_id, func.max(UserSession.used_at)).group_by(UserSession.membership_id)
    rows = session.execute(latest.where(UserSession.membership_id.in_(membership_ids)))
    return dict(rows.all())


def any_from_before(session: Session, moment: datetime) -> bool:
    """Whether there is a session, or may be a sign-in under way, that began before ``moment``: somebody was there then
    who was not signed out everywhere since. In the system's scope."""
    begun = select(UserSession.id).where(_alive(), UserSession.started_at < moment)
    not_since = or_(User.signed_out_at.is_(None), User.signed_out_at < moment)
    there_then = select(User.id).where(User.created_at < moment, not_since)
    return any(session.scalars(found.limit(1)).first() is not None for found in (begun, there_then))


def count_begun(session: Session, since: datetime, until: datetime) -> int:
    """How many sessions began from ``since`` on and before ``until``. In the system's scope."""
    begun = select(func.count()).select_from(UserSession)
    return session.execute(begun.where(UserSession.started_at >= since, UserSession.started_at < until)).scalar_one()


_SESSIONS, _MEMBERSHIPS, _USERS, _TENANTS = (
    Model.metadata.tables[name] for name in ("sessions", "memberships", "users", "tenants")
)
# Asked with every request, so past the ORM, which takes several times as long.
_FIND: Final = (
    select(
        _SESSIONS.c.id,
        _SESSIONS.c.started_at,
        _SESSIONS.c.used_at,
        _SESSIONS.c.authenticated_at,
        _MEMBERSHIPS.c.id,
        _USERS.c.id,
        _USERS.c.email,
        _MEMBERSHIPS.c.tenant_id,
        _MEMBERSHIPS.c.role,
    )
    .select_from(
        _SESSIONS.join(_MEMBERSHIPS, _SESSIONS.c.membership_id == _MEMBERSHIPS.c.id)
        .join(_USERS, _MEMBERSHIPS.c.user_id == _USERS.c.id)
        .join(_TENANTS, _MEMBERSHIPS.c.tenant_id == _TENANTS.c.id)
    )
    .where(
        _SESSIONS.c.id == bindparam("session"),
        _SESSIONS.c.tenant_id == bindparam("tenant"),
        _SESSIONS.c.ended_at.is_(None),
        _SESSIONS.c.started_at > bindparam("started_after"),
        _SESSIONS.c.used_at > bindparam("used_after"),
        _MEMBERSHIPS.c.user_id == bindparam("user"),
        _MEMBERSHIPS.c.disabled_at.is_(None),
        _USERS.c.disabled_at.is_(None),
        _TENANTS.c.suspended_at.is_(None),
    )
)
_FORGET: Final = delete(_SESSIONS).where(
    _SESSIONS.c.membership_id == bindparam("membership"), _SESSIONS.c.started_at < bindparam("started_before")
)


def end_where(session: Session, *criteria: ColumnElement[bool]) -> int:
    """End the sessions that meet all of these, in whichever tenants, as a part of a change that its maker records and
    commits. Returns how many. See :mod:`app.identity.signing_out`."""
    ended = update(UserSession).where(_alive(), *criteria).values(ended_at=now())
    with system_scope():  # as above
        result = cast("CursorResult[Any]", session.execute(ended))
    return result.rowcount


def of_user(user_id: UUID) -> ColumnElement[bool]:
    """Which sessions are of that user, in whichever tenants."""
    return UserSession.membership_id.in_(select(Membership.id).where(Membership.user_id == user_id))


def _alive() -> ColumnElement[bool]:
    moment, limits = now(), lifetime()
    return (
        UserSession.ended_at.is_(None)
        & (UserSession.started_at > moment - limits.absolute)
        & (UserSession.used_at > moment - limits.idle)
    )
