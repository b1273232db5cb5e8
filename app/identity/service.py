"""Who may sign in, and to what."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.audit import service as audit
from app.audit import tally
from app.database import now
from app.errors import Conflict, Invalid, NotFound, Unauthenticated
from app.identity import sessions
from app.identity.models import Membership, Role, User
from app.identity.passwords import hash_password, is_outdated, renew_hash, verify_password
from app.identity.throttle import Attempt
from app.tenancy import system_scope
from app.tenants.models import Tenant


def canonical_email(email: str) -> str:
    """The one spelling of an e-mail address that is stored. Raises :class:`~app.errors.Invalid` if it is none."""
    try:
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


def _is_email(text: str) -> bool:
    try:
        return bool(canonical_email(text))
    except Invalid:
        return False


def authenticate(session: Session, attempt: Attempt, password: str) -> UUID:
    """The id of the user whose account the attempt is about, if that is the password. The attempt counts as a failure
    from here on, until its maker says that it succeeded.

    Raises :class:`~app.errors.Unauthenticated`: the same, after the same time, whether or not there is such a user; and
    :class:`~app.errors.TooManyRequests`.
    """
    able = User.email == attempt.account, User.disabled_at.is_(None)
    found = session.execute(select(User.id, User.password_hash).where(*able)).one_or_none()
    attempt.count(session)  # commits: hashing takes long, and nobody should have to wait for a transaction meanwhile
    user_id, stored = found or (None, None)
    if not verify_password(stored, password) or user_id is None or stored is None:
        raise refused()
    if is_outdated(stored):
        renewed = update(User).where(User.id == user_id, User.password_hash == stored)
        session.execute(renewed.values(password_hash=renew_hash(password)))
        session.commit()
    return user_id


def choose_membership(session: Session, user_id: UUID, subdomain: str | None) -> Membership:
    """The user's membership of the tenant with that subdomain, or the only one there is if that is None.

    Raises :class:`~app.errors.Unauthenticated`, as if the password were wrong, when there is none, and
    :class:`~app.errors.Invalid` when there are several to choose from.
    """
    able = Membership.user_id == user_id, Membership.disabled_at.is_(None), Tenant.suspended_at.is_(None)
    statement = select(Membership).join(Tenant).where(*able).options(*_RELATED)
    if subdomain is not None:
        statement = statement.where(Tenant.subdomain == subdomain)
    with system_scope():  # the tenant is what is being found out
        memberships = session.scalars(statement.limit(2)).all()
    if not memberships:
        raise refused()
    if len(memberships) > 1:
        message = "you belong to several tenants: give the subdomain of one"
        raise Invalid("The request does not say which tenant.", [{"field": "tenant", "message": message}])
    return memberships[0]


def refused() -> Unauthenticated:
    """Why nobody was signed in is for us to know."""
    return Unauthenticated("The e-mail address, the password or the tenant is not right.")


def record_refusal(session: Session, account: str, reason: str | None = None) -> None:
    """Record that somebody was not let in to that account, of which :func:`account_of` speaks: for each tenant that the
    account belongs to, or, where there is no such account, for nobody in particular. Takes as long in either case.

    reason: where the password was right.
    """
    details = _account_details(account) | ({"reason": reason} if reason is not None else {})
    session.rollback()
    with system_scope():  # whose tenants they are is what is being found out
        for tenant_id, user_id in _whose(session, account):
            audit.record(
                session,
                "session.refused",
                tenant_id=tenant_id,
                object_id=user_id,
                outcome=audit.REFUSED,
                details=details,
            )
        session.commit()


def record_lock_out(session: Session, account: str) -> None:
    """As :func:`record_refusal`, where there were too many attempts at that account: added up, and never stored before
    the answer, which takes as long whether or not there is such an account."""
    details = tuple((_account_details(account) | {"reason": "too many attempts"}).items())
    session.rollback()
    with system_scope():
        for tenant_id, user_id in _whose(session, account):
            kind = tally.Kind("session.refused", audit.REFUSED, tenant_id, user_id, details)
            tally.count(kind, at_once=False)
        session.rollback()


def _whose(session: Session, account: str) -> list[tuple[UUID | None, UUID | None]]:
    """The tenants that the account belongs to, each with the user's id; or nobody."""
    found = select(Membership.tenant_id, User.id).join(User).where(User.email == account)
    return [(row.tenant_id, row.id) for row in session.execute(found)] or [(None, None)]


def _account_details(account: str) -> dict[str, str]:
    """Only an address: some type their password there."""
    return {"account": account} if _is_email(account) else {}


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
    user = User(email=email, password_hash=hash_password(password, email=email, subdomain=subdomain))
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
        raise Conflict("This user is a member of the tenant already.") from None
    return membership


def set_disabled(session: Session, email: str, disabled: bool) -> None:
    """Keep a user from signing in, and end the user's sessions; or let them sign in again.

    Raises :class:`~app.errors.NotFound`.
    """
    user = get_user(session, email)
    user.disabled_at = (user.disabled_at or now()) if disabled else None
    sessions.end_of_user(session, user.id)


def get_tenant(session: Session, subdomain: str) -> Tenant:
    """The tenant with that subdomain. Raises :class:`~app.errors.NotFound`."""
    tenant = session.scalars(select(Tenant).where(Tenant.subdomain == subdomain)).one_or_none()
    if tenant is None:
        raise NotFound("There is no tenant with this subdomain.")
    return tenant


_RELATED = (joinedload(Membership.user), joinedload(Membership.tenant))
