"""Who may sign in, and to what."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from flask import current_app
from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, contains_eager

from app.audit import service as audit
from app.database import now
from app.errors import Conflict, Invalid, NotFound, Unauthenticated
from app.identity import sessions
from app.identity.models import Membership, Role, User, UserSession
from app.identity.passwords import hash_password, is_outdated, renew_hash, verify_password
from app.identity.throttle import Attempt
from app.identity.trail import record_for_each_tenant
from app.tenancy import system_scope
from app.tenants.models import Tenant

LONGEST_EMAIL: Final = 320

Row = TypeVar("Row", User, Membership)


def canonical_email(email: str) -> str:
    """The one spelling of an e-mail address that is stored. Raises :class:`~app.errors.Invalid` if it is none."""
    try:
        if len(email) > LONGEST_EMAIL:  # to look at each character takes the longer the more there are of them
            raise EmailNotValidError
        return validate_email(email, check_deliverability=False, globally_deliverable=False).normalized.lower()
    except EmailNotValidError:
        message = "must be an e-mail address"
        raise Invalid("The e-mail address is not valid.", [{"field": "email", "message": message}]) from None


def account_of(email: str) -> str:
    """What tells the account apart that somebody wants to sign in to, whatever they typed."""
    try:
        return canonical_email(email)
    except Invalid:
        return email.lower()


class TenantNeeded(Invalid):
    """The password was right, but does not tell to which of the user's tenants. ``reason``: for the audit trail."""

    reason: Final = "which tenant"

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


def find_user(session: Session, email: str) -> User | None:
    """The user with that e-mail address."""
    return session.scalars(select(User).where(User.email == canonical_email(email))).one_or_none()


def get_user(session: Session, email: str) -> User:
    """The user with that e-mail address. Raises :class:`~app.errors.NotFound`."""
    user = find_user(session, email)
    if user is None:
        raise NotFound("There is no user with this e-mail address.")
    return user


def add_user(session: Session, email: str, password: str, subdomain: str = "") -> User:
    """A new user, who will join the tenant with that subdomain, not committed yet. Raises
    :class:`~app.errors.Invalid`."""
    email = canonical_email(email)
    user = User(email=email, password_hash=hash_password(password, email=email, subdomains=[subdomain]))
    session.add(user)
    return user


def add_membership(session: Session, user: User, tenant: Tenant, role: Role) -> Membership:
    """A membership, not committed yet."""
    membership = Membership(user=user, tenant=tenant, role=role)
    session.add(membership)
    return membership


def create_user(
    session: Session, email: str, subdomain: str, role: Role, read_password: Callable[[], str]
) -> Membership:
    """Make somebody a member of a tenant. read_password: called when it is a new user; an existing one keeps theirs.

    Raises :class:`~app.errors.NotFound`, :class:`~app.errors.Conflict` and :class:`~app.errors.Invalid`.
    """
    tenant = get_tenant(session, subdomain)
    user = find_user(session, email)
    if user is None:
        session.rollback()  # whoever types a password takes their time: nobody should wait for this transaction
        user = add_user(session, email, read_password(), subdomain)
    membership = add_membership(session, user, session.merge(tenant, load=False), role)
    try:
        session.flush()
        details = {"email": user.email, "role": role.value}
        audit.record(session, "member.added", object_id=membership.id, tenant_id=tenant.id, details=details)
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Conflict("This user is a member already.") from None
    return membership


def set_disabled(session: Session, email: str, disabled: bool) -> None:
    """Keep a user from signing in, and end the user's sessions; or let them sign in again.

    Raises :class:`~app.errors.NotFound`, and :class:`~app.errors.Conflict` for the last owner of a tenant.
    """
    user = get_user(session, email)
    if disabled:
        _require_other_owners(session, user)
    user.disabled_at = (user.disabled_at or now()) if disabled else None
    record_for_each_tenant(session, f"user.{'disabled' if disabled else 'enabled'}", user.id)
    if disabled:
        sessions.end_of_user(session, user.id)
    session.commit()


def _require_other_owners(session: Session, user: User) -> None:
    """Raise Conflict if a tenant that is open would have no owner who can sign in without ``user``. All owners of the
    user's tenants are locked until the transaction ends, as where one of them steps down."""
    own = select(Membership.tenant_id).where(Membership.user_id == user.id, Membership.role == Role.OWNER)
    owners = (
        select(Membership)
        .join(Membership.user)
        .join(Membership.tenant)
        .where(Membership.role == Role.OWNER, Membership.tenant_id.in_(own), Tenant.suspended_at.is_(None))
        .order_by(Membership.id)
        .with_for_update(of=(Membership, User), key_share=True)
        .options(contains_eager(Membership.user), contains_eager(Membership.tenant))
        .execution_options(populate_existing=True)
    )
    able = [it for it in session.scalars(owners) if it.disabled_at is None and it.user.disabled_at is None]
    kept = {it.tenant_id for it in able if it.user_id != user.id}
    for tenant in (it.tenant for it in able if it.user_id == user.id and it.tenant_id not in kept):
        session.rollback()
        what = "make somebody else an owner (flask set-role), or close the tenant (flask suspend-tenant), first."
        raise Conflict(f"This is the last owner of {tenant.subdomain}: {what}")


def get_tenant(session: Session, subdomain: str) -> Tenant:
    """The tenant with that subdomain. Raises :class:`~app.errors.NotFound`."""
    tenant = session.scalars(select(Tenant).where(Tenant.subdomain == subdomain)).one_or_none()
    if tenant is None:
        raise NotFound("There is no tenant with this subdomain.")
    return tenant
