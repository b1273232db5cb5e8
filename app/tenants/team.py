"""The members of a tenant: who they are, and what owners and admins change about each other.

Whatever is changed counts from the next request on. A tenant always has an owner who can sign in: see :func:`_lock`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from app.audit import service as audit
from app.database import now
from app.errors import Conflict, Forbidden, NotFound, OutdatedVersion, Unauthenticated
from app.identity import signing_out
from app.identity.models import Membership, Role, User
from app.identity.users import get_tenant, get_user
from app.pagination import Listing, PageQuery
from app.tenants.models import Invitation, Tenant


class LastOwner(Conflict):
    """A tenant always has an owner who can sign in."""

    def __init__(self) -> None:
        super().__init__("This is the organisation's last owner: make somebody else an owner first.")


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[Membership], str | None]:
    """A page of the members, newest first, and the cursor of the next page or None."""
    members = select(Membership).where(Membership.tenant_id == tenant_id).options(joinedload(Membership.user))
    return Listing(members, Membership.id).fetch(session, page)


def get(session: Session, tenant_id: UUID, membership_id: UUID) -> Membership:
    """A member. Raises :class:`~app.errors.NotFound`."""
    wanted = select(Membership).where(Membership.tenant_id == tenant_id, Membership.id == membership_id)
    member = session.scalars(wanted.options(joinedload(Membership.user))).one_or_none()
    if member is None:
        raise _not_found()
    return member


def roles_given_by(actor: Membership) -> list[Role]:
    """The roles that ``actor`` may give to others. Who has one of these is theirs to change, disable and remove; and
    so is an invitation to one."""
    allowed = {Role.OWNER: [Role.OWNER, Role.ADMIN, Role.MEMBER], Role.ADMIN: [Role.ADMIN, Role.MEMBER]}
    return allowed.get(Role(actor.role), [])


def is_last_owner(session: Session, member: Membership) -> bool:
    """Whether ``member`` is the tenant's only owner who can sign in, and so has to stay one."""
    able = Membership.role == Role.OWNER, Membership.disabled_at.is_(None), User.disabled_at.is_(None)
    owners = select(Membership.id).join(Membership.user).where(Membership.tenant_id == member.tenant_id, *able)
    return list(session.scalars(owners.limit(2))) == [member.id]


def keepers_without_second_factor(session: Session, tenant_id: UUID, besides: UUID) -> list[str]:
    """The e-mail addresses of owners and admins who sign in with a password alone, in alphabetical order. besides: the
    id of a membership that is left out."""
    wanted = (
        select(User.email)
        .join(User.memberships)
        .where(
            Membership.tenant_id == tenant_id,
            Membership.id != besides,
            Membership.role.in_([Role.OWNER, Role.ADMIN]),
            Membership.disabled_at.is_(None),
            User.disabled_at.is_(None),
            User.totp_confirmed_at.is_(None),
        )
    )
    return list(session.scalars(wanted.order_by(User.email)))


def owners_without_second_factor(session: Session) -> list[tuple[UUID, str]]:
    """Of all tenants that are not suspended: the owners who can sign in, and do so with a password alone, each as the
    user's id and the tenant's subdomain, by subdomain. In the system's scope."""
    wanted = (
        select(User.id, Tenant.subdomain)
        .join(User.memberships)
        .join(Membership.tenant)
        .where(
            Membership.role == Role.OWNER,
            Membership.disabled_at.is_(None),
            User.disabled_at.is_(None),
            User.totp_confirmed_at.is_(None),
            Tenant.suspended_at.is_(None),
        )
    )
    return [(row.id, row.subdomain) for row in session.execute(wanted.order_by(Tenant.subdomain))]


def has_others(session: Session, tenant_id: UUID, besides: UUID) -> bool:
    """Whether anybody but that member is on the team, or invited to be."""
    member = select(Membership.id).where(Membership.tenant_id == tenant_id, Membership.id != besides)
    invited = select(Invitation.id).where(Invitation.tenant_id == tenant_id, Invitation.expires_at > now())
    return bool(session.scalar(select(or_(member.exists(), invited.exists()))))


def change(
    session: Session, actor: Membership, membership_id: UUID, changes: Mapping[str, Any], version: int | None = None
) -> Membership:
    """A member with ``changes`` made, of ``role`` and ``disabled``. Who is disabled is signed out of the tenant.

    actor: who wants it. version: the one that they read, or None for whichever it is.

    Raises :class:`~app.errors.NotFound`, :class:`~app.errors.Forbidden`, and :class:`~app.errors.Conflict` for
    another version and for the last owner.
    """
    members, member = _lock_to_change(session, actor, membership_id, version)
    role = Role(changes.get("role", member.role))
    disabled = bool(changes.get("disabled", member.disabled_at is not None))
    _require_right_to_change(members[actor.id], member, role)
    if role != Role.OWNER or disabled:
        _require_another_owner(members, member)
    member.role = role
    member.disabled_at = (member.disabled_at or now()) if disabled else None
    if disabled:
        signing_out.end_of_member(session, member.id)
    _record(session, "member.updated", member, role=member.role, disabled=disabled)
    session.commit()
    return member


def remove(session: Session, actor: Membership, membership_id: UUID, version: int | None = None) -> None:
    """Remove a member, with the member's sessions and invitations. Everybody may remove themselves: leave.

    Raises as :func:`change` does.
    """
    members, member = _lock_to_change(session, actor, membership_id, version)
    if member is not members[actor.id]:
        _require_right_to_change(members[actor.id], member, Role(member.role))
    _require_another_owner(members, member)
    session.delete(member)
    _record(session, "member.removed", member)
    session.commit()


def set_role(session: Session, email: str, subdomain: str, role: Role) -> None:
    """For the operator: change a member's role, from the next request on.

    Raises :class:`~app.errors.NotFound`, and :class:`~app.errors.Conflict` for a tenant's last owner.
    """
    user, tenant = get_user(session, email), get_tenant(session, subdomain)
    members = _lock(session, tenant.id, Membership.user_id == user.id)
    member = next((member for member in members.values() if member.user_id == user.id), None)
    if member is None:
        raise NotFound("This user is not a member of the tenant.")
    if role != Role.OWNER:
        _require_another_owner(members, member)
    member.role = role
    _record(session, "member.updated", member, role=role.value)
    session.commit()


def _lock_to_change(
    session: Session, actor: Membership, membership_id: UUID, version: int | None
) -> tuple[dict[UUID, Membership], Membership]:
    """What :func:`_lock` gives, and the member that is to be changed.

    Raises :class:`~app.errors.NotFound`, :class:`~app.errors.Conflict` for another version, and
    :class:`~app.errors.Unauthenticated` for an actor who was removed or disabled in this very moment.
    """
    members = _lock(session, actor.tenant_id, Membership.id.in_([actor.id, membership_id]))
    if actor.id not in members or members[actor.id].disabled_at is not None:
        raise Unauthenticated("The session has ended: sign in again.")
    if membership_id not in members:
        raise _not_found()
    member = members[membership_id]
    if version not in (None, member.version):
        raise OutdatedVersion()
    return members, member


def _lock(session: Session, tenant_id: UUID, wanted: ColumnElement[bool]) -> dict[UUID, Membership]:
    """The members wanted and all owners, by id, as they are now: nobody else changes them until the transaction ends.
    So two owners cannot step down, or remove each other, at the same time, each relying on the other."""
    statement = (
        select(Membership)
        .join(Membership.user)
        .where(Membership.tenant_id == tenant_id, or_(Membership.role == Role.OWNER, wanted))
        .order_by(Membership.id)  # everybody in the same order, or they might wait for each other
        .with_for_update(of=Membership)
        .options(contains_eager(Membership.user))
        .execution_options(populate_existing=True)
    )
    found: Sequence[Membership] = session.scalars(statement).all()
    return {member.id: member for member in found}


def _require_right_to_change(actor: Membership, member: Membership, role: Role) -> None:
    """Owners change everybody; admins everybody but owners, and nobody into one."""
    theirs = roles_given_by(actor)
    if not theirs:
        raise Forbidden("Only owners and admins of the organisation may do this.")
    if not {Role(member.role), role} <= set(theirs):
        raise Forbidden("Only an owner may change an owner, or make somebody one.")


def _require_another_owner(members: Mapping[UUID, Membership], member: Membership) -> None:
    """Raise LastOwner if ``member``, who is about to cease to be one, is the last owner who can sign in."""
    if [owner for owner in members.values() if _is_able_owner(owner)] == [member]:
        raise LastOwner


def _is_able_owner(member: Membership) -> bool:
    return member.role == Role.OWNER and member.disabled_at is None and member.user.disabled_at is None


def _record(session: Session, action: str, member: Membership, **details: Any) -> None:
    audit.record(
        session,
        action,
        object_id=member.id,
        tenant_id=member.tenant_id,
        details={"email": member.user.email, **details},
    )


def _not_found() -> NotFound:
    return NotFound("There is nothing here under this id.")
