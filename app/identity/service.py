"""Who may sign in, and to what."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from app.errors import Invalid, NotFound, Unauthenticated
from app.identity.models import Membership, Role, User
from app.identity.passwords import hash_password, is_outdated, verify_password
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


def authenticate(session: Session, account: str, password: str) -> UUID:
    """The id of the user with that e-mail address, as :func:`account_of` gives it, and that password.

    Raises :class:`~app.errors.Unauthenticated`: the same, after the same time, whether or not there is such a user.
    """
    found = session.execute(select(User.id, User.password_hash).where(User.email == account)).one_or_none()
    session.rollback()  # hashing takes long: nobody should have to wait for this transaction meanwhile
    user_id, stored = found or (None, None)
    if not verify_password(stored, password) or user_id is None or stored is None:
        raise refused()
    if is_outdated(stored):
        renewed = update(User).where(User.id == user_id, User.password_hash == stored)
        session.execute(renewed.values(password_hash=hash_password(password)))
        session.commit()
    return user_id


def choose_membership(session: Session, user_id: UUID, subdomain: str | None) -> Membership:
    """The user's membership of the tenant with that subdomain, or the only one there is if that is None.

    Raises :class:`~app.errors.Unauthenticated`, as if the password were wrong, when there is none, and
    :class:`~app.errors.Invalid` when there are several to choose from.
    """
    statement = select(Membership).join(Tenant).where(Membership.user_id == user_id).options(*_RELATED)
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


def find_membership(session: Session, user_id: UUID, tenant_id: UUID) -> Membership | None:
    """The membership as it is now, with its user and tenant."""
    statement = select(Membership).where(Membership.user_id == user_id, Membership.tenant_id == tenant_id)
    return session.scalars(statement.options(*_RELATED)).one_or_none()


def find_user(session: Session, email: str) -> User | None:
    """The user with that e-mail address."""
    return session.scalars(select(User).where(User.email == canonical_email(email))).one_or_none()


def add_user(session: Session, email: str, password: str) -> User:
    """A new user, not committed yet. Raises :class:`~app.errors.Invalid`."""
    user = User(email=canonical_email(email), password_hash=hash_password(password))
    session.add(user)
    return user


def add_membership(session: Session, user: User, tenant: Tenant, role: Role) -> Membership:
    """A membership, not committed yet."""
    membership = Membership(user=user, tenant=tenant, role=role)
    session.add(membership)
    return membership


def set_password(session: Session, email: str, read_password: Callable[[], str]) -> None:
    """Replace a user's password by what ``read_password`` gives, called only if there is such a user.

    Raises :class:`~app.errors.NotFound` and :class:`~app.errors.Invalid`.
    """
    user = find_user(session, email)
    if user is None:
        raise NotFound("There is no user with this e-mail address.")
    session.rollback()  # whoever types a password takes their time: nobody should wait for this transaction
    password_hash = hash_password(read_password())
    session.execute(update(User).where(User.id == user.id).values(password_hash=password_hash))
    session.commit()


_RELATED = (joinedload(Membership.user), joinedload(Membership.tenant))
