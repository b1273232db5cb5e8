"""Invitations to a team. Each is worth what who made it may do when it is accepted."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.audit import service as audit
from app.audit.actors import Actor, act_as
from app.database import now, uuid7
from app.errors import Conflict, Forbidden, NotFound
from app.identity import accounts
from app.identity.models import Membership, Role, User
from app.identity.one_time import LinkNotValid, fingerprint, new_token
from app.identity.users import add_membership, canonical_email
from app.mail import messages
from app.mail import service as mail
from app.pagination import Listing, PageQuery
from app.tenancy import system_scope, tenant_scope
from app.tenants.models import Invitation, Tenant

EXPIRES: Final = timedelta(days=7)


def create(session: Session, inviter: Membership, email: str, role: Role) -> Invitation:
    """Invite the owner of an e-mail address, in place of an earlier invitation.

    Raises :class:`~app.errors.Forbidden` for an admin who invites an owner, or somebody whom an owner has invited as
    one, :class:`~app.errors.Conflict` for somebody who is a member already, :class:`~app.errors.Invalid` for what is no
    address, and :class:`~app.errors.Unavailable`.
    """
    if role == Role.OWNER and inviter.role != Role.OWNER:
        raise Forbidden("Only an owner may invite an owner.")
    email, token, tenant = canonical_email(email), new_token(), inviter.tenant
    members = select(Membership.id).join(Membership.user).where(Membership.tenant_id == tenant.id, User.email == email)
    if session.scalar(members) is not None:
        raise Conflict("Whoever has this e-mail address is a member already.")
    earlier = delete(Invitation).where(Invitation.tenant_id == tenant.id, Invitation.email == email)
    replaced = session.scalar(earlier.returning(Invitation.role).execution_options(synchronize_session=False))
    _require_right_to(session, inviter, replaced)
    invitation = Invitation(
        id=uuid7(),
        tenant_id=tenant.id,
        email=email,
        role=role,
        invited_by=inviter,
        token_hash=fingerprint(token),
        expires_at=now() + EXPIRES,
    )
    session.add(invitation)
    mail.queue(
        session, email, messages.Invitation(token, invitation.expires_at, tenant.name, invited_by=inviter.user.email)
    )
    _record(session, "created", invitation.id, email, role)
    session.commit()
    return invitation


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[Invitation], str | None]:
    """A page of the invitations that were not accepted yet, newest first, and the cursor of the next page or None."""
    return Listing(_of(tenant_id), Invitation.id).fetch(session, page)


def get(session: Session, tenant_id: UUID, invitation_id: UUID) -> Invitation:
    """Raises :class:`~app.errors.NotFound`."""
    invitation = session.scalars(_of(tenant_id).where(Invitation.id == invitation_id)).one_or_none()
    if invitation is None:
        raise _not_found()
    return invitation


def revoke(session: Session, actor: Membership, invitation_id: UUID) -> None:
    """Take an invitation back. Raises :class:`~app.errors.NotFound`, and :class:`~app.errors.Forbidden` for an admin
    and the invitation of an owner."""
    revoked = delete(Invitation).where(Invitation.tenant_id == actor.tenant_id, Invitation.id == invitation_id)
    found = session.execute(revoked.returning(Invitation.email, Invitation.role)).one_or_none()
    if found is None:
        raise _not_found()
    _require_right_to(session, actor, found.role)
    _record(session, "revoked", invitation_id, *found)
    session.commit()


def _require_right_to(session: Session, actor: Membership, role: str | None) -> None:
    """Raise Forbidden where an admin has deleted the invitation of an owner to be, which only owners make."""
    if role == Role.OWNER and actor.role != Role.OWNER:
        session.rollback()
        raise Forbidden("Only an owner may change or take back an invitation of an owner.")


class PendingInvitation(NamedTuple):
    """What accepting an invitation would do. invited_by: the e-mail address of who made it. has_account: whether there
    is an account with the address that is invited, which then keeps its password."""

    tenant_id: UUID
    tenant_name: str
    subdomain: str
    email: str
    role: Role
    invited_by: str
    has_account: bool


def look_up(session: Session, token: str) -> PendingInvitation:
    """What the token of a mailed link is good for. Uses nothing up, and ends the transaction.

    Raises :class:`~app.identity.one_time.LinkNotValid` wherever :func:`accept` would.
    """
    inviter = User.email.label("invited_by")
    wanted = (
        select(Tenant.id, Tenant.name, Tenant.subdomain, Invitation.email, Invitation.role, inviter)
        .select_from(Invitation)
        .join(Tenant, Tenant.id == Invitation.tenant_id)
        .join(Invitation.invited_by)
        .join(Membership.user)
    )
    with system_scope():  # whose invitation it is, is what is being found out
        found = session.execute(wanted.where(*_good(token))).one_or_none()
    session.rollback()
    if found is None:
        raise LinkNotValid
    has_account = accounts.has_account(session, found.email)
    return PendingInvitation(*found[:4], role=Role(found.role), invited_by=found.invited_by, has_account=has_account)


def accept(session: Session, token: str, password: str | None) -> Membership:
    """Make whoever has the token a member: the account of the invited address, which is opened with ``password`` if
    there is none.

    Raises :class:`~app.identity.one_time.LinkNotValid`, also where the tenant is suspended or who made the invitation
    may not invite any more, :class:`~app.errors.Invalid` as :func:`~app.identity.accounts.prepare_account` does, and
    :class:`~app.errors.Conflict`.
    """
    found = look_up(session, token)
    password_hash = accounts.prepare_account(found.email, found.has_account, password, found.subdomain)
    with tenant_scope(found.tenant_id):
        used = delete(Invitation).where(*_good(token)).returning(Invitation.id, Invitation.role)
        row = session.execute(used.execution_options(synchronize_session=False)).one_or_none()
        if row is None:
            session.rollback()
            raise LinkNotValid
        tenant = session.get_one(Tenant, found.tenant_id)
        try:
            user = accounts.open_account(session, found.email, password_hash)
            membership = add_membership(session, user, tenant, Role(row.role))
            session.flush()
            act_as(Actor("user", user.id, user.email))
            _record(session, "accepted", row.id, user.email, row.role)
            session.commit()
        except IntegrityError:
            session.rollback()
            raise Conflict("Whoever has this e-mail address has become a member, or a user, meanwhile.") from None
    return membership


def _good(token: str) -> tuple[ColumnElement[bool], ...]:
    """What finds the invitation of a token that can still be used."""
    may_invite = or_(Membership.role == Role.OWNER, and_(Membership.role == Role.ADMIN, Invitation.role != Role.OWNER))
    able = Membership.disabled_at.is_(None), User.disabled_at.is_(None), may_invite
    return (
        Invitation.token_hash == fingerprint(token),
        Invitation.expires_at > now(),
        Invitation.tenant_id.in_(select(Tenant.id).where(Tenant.suspended_at.is_(None))),
        Invitation.invited_by_id.in_(select(Membership.id).join(Membership.user).where(*able)),
    )


def _of(tenant_id: UUID) -> Select[Invitation]:
    inviter = joinedload(Invitation.invited_by).joinedload(Membership.user)
    return select(Invitation).where(Invitation.tenant_id == tenant_id).options(inviter)


def _record(session: Session, verb: str, invitation_id: UUID, email: str, role: str) -> None:
    audit.record(
        session, f"invitation.{verb}", object_id=invitation_id, details={"email": email, "role": Role(role).value}
    )


def _not_found() -> NotFound:
    return NotFound("There is nothing here under this id.")
