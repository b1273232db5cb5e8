"""Users and their memberships, as they are found, made and disabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, contains_eager

from app.audit import service as audit
from app.database import now
from app.errors import Conflict, Invalid, NotFound
from app.identity import signing_out
from app.identity.models import Membership, Role, User
from app.identity.passwords import hash_password
from app.identity.trail import record_for_each_tenant
from app.tenants.models import Tenant

LONGEST_EMAIL: Final = 320


def canonical_email(email: str) -> str:
    """The one spelling of an e-mail address that is stored. Raises :class:`~app.errors.Invalid` if it is none."""
    try:
        if len(email) > LONGEST_EMAIL:  # to look at each character takes the longer the more there are of them
            raise EmailNotValidError
        return validate_email(email, check_deliverability=False, globally_deliverable=False).normalized.lower()
    except EmailNotValidError:
        message = "must be an e-mail address"
        raise Invalid("The e-mail address is not valid.", [{"field": "email", "message": message}]) from None


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
        signing_out.end_of_user(session, user.id)
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
