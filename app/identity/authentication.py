"""Who may sign in, and to what."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from flask import current_app
from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session, contains_eager

from app.errors import Invalid, Unauthenticated
from app.identity.models import Membership, Role, User, UserSession
from app.identity.passwords import is_outdated, renew_hash, verify_password
from app.identity.throttle import Attempt
from app.identity.users import canonical_email
from app.tenancy import system_scope
from app.tenants.models import Tenant

Row = TypeVar("Row", User, Membership)


def account_of(email: str) -> str:
    """What tells the account apart that somebody wants to sign in to, whatever they typed."""
    try:
        return canonical_email(email)
    except Invalid:
        return email.lower()


class TenantNeeded(Invalid):
    """The password was right, but does not tell to which of the user's tenants. ``reason``: for the audit trail;
    ``outcome``: for the metrics."""

    reason: Final = "which tenant"
    outcome: Final = "tenant_needed"

    def __init__(self) -> None:
        message = "you belong to several tenants: give the subdomain of one"
        super().__init__("The request does not say which tenant.", [{"field": "tenant", "message": message}])


class Verified(NamedTuple):
    """A user as they were when their password was verified, which takes long: see :func:`require_unchanged`."""

    user_id: UUID
    password_hash: str
    totp_confirmed_at: datetime | None
    signed_out_at: datetime | None

    @property
    def has_second_factor(self) -> bool:
        """Whether signing in takes a code."""
        return self.totp_confirmed_at is not None


def authenticate(session: Session, attempt: Attempt, password: str) -> Verified:
    """The user whose account the attempt is about, if that is the password. The attempt counts as a failure from here
    on, until its maker says that it succeeded.

    Raises :class:`~app.errors.Unauthenticated`: the same, after the same time, whether or not there is such a user; and
    :class:`~app.errors.TooManyRequests`.
    """
    able = User.email == attempt.account, User.disabled_at.is_(None)
    with system_scope():  # which tenants the account belongs to is what is being found out
        found = session.execute(_AS_THEY_ARE.where(*able)).one_or_none()
        attempt.count(session)  # commits: hashing takes long, and nobody should wait for a transaction meanwhile
    if not verify_password(found.password_hash if found else None, password) or found is None:
        raise refused()
    verified = Verified._make(found)
    if not is_outdated(verified.password_hash):
        return verified
    return verified._replace(password_hash=_renewed_hash(session, *verified[:2], password))


_AS_THEY_ARE: Final = select(User.id, User.password_hash, User.totp_confirmed_at, User.signed_out_at)


def _renewed_hash(session: Session, user_id: UUID, stored: str, password: str) -> str:
    """What is stored from here on: another one, unless somebody has replaced the password meanwhile. Commits."""
    renewed = renew_hash(password)
    still = update(User).where(User.id == user_id, User.password_hash == stored).values(password_hash=renewed)
    found = session.scalar(still.returning(User.id).execution_options(synchronize_session=False))
    session.commit()
    return stored if found is None else renewed


def require_unchanged(session: Session, verified: Verified) -> User:
    """The user, who stays as they are until the transaction ends. To be asked in the one that lets them in: their
    password may have been replaced while it was verified, and its sessions ended before there was this one.

    Raises :class:`~app.errors.Unauthenticated`, as if the password were wrong.
    """
    user = session.scalars(_locked(select(User).where(User.id == verified.user_id))).one_or_none()
    return _unchanged(user, verified)


def proof_of(verified: Verified) -> str:
    """What tells whether somebody who signs in by several requests is still as they were when their password was
    verified, and was not signed out everywhere since. Nothing can be guessed with it."""
    key: bytes = current_app.config["SECRET_KEY"]
    since = "/".join(at.isoformat() if at else "never" for at in (verified.totp_confirmed_at, verified.signed_out_at))
    state = f"proof/{since}/{verified.password_hash}"
    return hmac.digest(key, state.encode(), "sha256").hex()


def recall(session: Session, user_id: UUID, proof: str) -> User:
    """As :func:`require_unchanged`, in a later request than the one that verified the password. proof: as
    :func:`proof_of` gave it."""
    user = session.scalars(_locked(select(User).where(User.id == user_id))).one_or_none()
    if user is None or user.disabled_at is not None:
        raise refused()
    as_now = proof_of(Verified(user.id, user.password_hash, user.totp_confirmed_at, user.signed_out_at))
    if not hmac.compare_digest(as_now.encode(), proof.encode()):
        raise refused()
    return user


def get_membership(session: Session, membership_id: UUID) -> Membership:
    """A membership of the scope's tenant. Raises :class:`~app.errors.Unauthenticated` when it is none any more."""
    membership = session.get(Membership, membership_id)
    if membership is None or membership.disabled_at is not None:
        raise refused()
    return membership


def _locked(statement: Select[Row]) -> Select[Row]:
    """Not shared: two who sign in at once with a code would wait for each other to use it up."""
    return statement.with_for_update(of=User, key_share=True).execution_options(populate_existing=True)


def _unchanged(user: User | None, verified: Verified) -> User:
    if user is None or user.disabled_at is not None:
        raise refused()
    if (user.password_hash, user.signed_out_at) != (verified.password_hash, verified.signed_out_at):
        raise refused()
    return user


def choose_membership(session: Session, verified: Verified, subdomain: str | None) -> Membership:
    """The user's membership of the tenant with that subdomain, or the only one there is if that is None. The user is as
    :func:`require_unchanged` gives them.

    Raises :class:`~app.errors.Unauthenticated`, as if the password were wrong, when there is none, and
    :class:`TenantNeeded` when there are several to choose from.
    """
    statement = _MEMBERSHIPS if subdomain is None else _MEMBERSHIP
    with system_scope():  # the tenant is what is being found out
        memberships = session.scalars(statement, {"user": verified.user_id, "subdomain": subdomain}).all()
    if not memberships:
        raise refused()
    _unchanged(memberships[0].user, verified)
    if len(memberships) > 1:
        raise TenantNeeded
    return memberships[0]


# With every sign-in, so put together once.
_MEMBERSHIPS: Final = _locked(
    select(Membership)
    .join(Membership.user)
    .join(Membership.tenant)
    .where(Membership.user_id == bindparam("user"), Membership.disabled_at.is_(None), Tenant.suspended_at.is_(None))
    .options(contains_eager(Membership.user), contains_eager(Membership.tenant))
    .limit(2)
)
_MEMBERSHIP: Final = _MEMBERSHIPS.where(Tenant.subdomain == bindparam("subdomain"))


class Choice(NamedTuple):
    """A tenant that a user may go on to. last_used_at: when they last were there, as far as sessions are still known;
    None for never."""

    membership_id: UUID
    tenant_id: UUID
    tenant_name: str
    subdomain: str
    role: Role
    last_used_at: datetime | None


def memberships_of(session: Session, user_id: UUID) -> list[Choice]:
    """The tenants that a user may choose from, the most recently used first, then by name: none of those where they are
    disabled, or which are suspended."""
    last_used = func.max(UserSession.used_at).label("last_used_at")
    statement = (
        select(Membership.id, Tenant.id, Tenant.name, Tenant.subdomain, Membership.role, last_used)
        .join(Membership.user)
        .join(Membership.tenant)
        .outerjoin(UserSession, UserSession.membership_id == Membership.id)
        .where(Membership.user_id == user_id, Membership.disabled_at.is_(None), User.disabled_at.is_(None))
        .where(Tenant.suspended_at.is_(None))
        .group_by(Membership.id, Tenant.id)
        .order_by(last_used.desc().nulls_last(), Tenant.name, Tenant.subdomain)
    )
    with system_scope():  # they are several
        rows = session.execute(statement).all()
    return [Choice(*row[:4], Role(row.role), row.last_used_at) for row in rows]


def refused() -> Unauthenticated:
    """Why nobody was signed in is for us to know."""
    return Unauthenticated("The e-mail address, the password or the tenant is not right.")
