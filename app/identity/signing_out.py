"""What ends sessions before their time: signing out, of one session, everywhere, or of everybody."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, select, true, update
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.database import now
from app.errors import NotFound
from app.identity.models import Membership, OneTimeToken, User, UserSession
from app.identity.one_time import void_tokens
from app.identity.sessions import end_where, of_user
from app.identity.trail import record_for_each_tenant


def end(session: Session, user_id: UUID, session_id: UUID) -> None:
    """End one session of the user at once. Raises :class:`~app.errors.NotFound`."""
    if not end_where(session, of_user(user_id), UserSession.id == session_id):
        raise NotFound("There is no such session, or it has ended.")
    audit.record(session, "session.ended", object_id=session_id)
    session.commit()


def end_of_user(session: Session, user_id: UUID, keep: UUID | None = None) -> int:
    """End all sessions of a user, in whichever tenants, but the one with the id ``keep``, and sign-ins that are under
    way; void the links that were mailed, and commit. Returns how many sessions: with a link that a thief has asked for,
    they would be back."""
    _end_sign_ins(session, User.id == user_id)
    void_tokens(session, OneTimeToken.user_id == user_id)
    count = end_others(session, user_id, keep)
    record_for_each_tenant(session, "user.signed_out", user_id, {"sessions": count})
    session.commit()
    return count


def end_of_tenant(session: Session, tenant_id: UUID) -> int:
    """End all sessions in a tenant, and its members' sign-ins that are under way, void the links that were mailed to
    them, and commit. Returns how many sessions."""
    members = select(Membership.user_id).where(Membership.tenant_id == tenant_id)
    _end_sign_ins(session, User.id.in_(members))
    void_tokens(session, OneTimeToken.user_id.in_(members))
    count = end_where(session, UserSession.tenant_id == tenant_id)
    details = {"sessions": count}
    audit.record(session, "tenant.signed_out", object_id=tenant_id, tenant_id=tenant_id, details=details)
    session.commit()
    return count


def end_of_everybody(session: Session) -> int:
    """End every session there is, and every sign-in that is under way, void every link that was mailed to a user, and
    commit. Returns how many sessions."""
    _end_sign_ins(session, true())
    void_tokens(session, true())
    count = end_where(session)
    audit.record(session, "everybody.signed_out", details={"sessions": count})
    session.commit()
    return count


def end_others(session: Session, user_id: UUID, keep: UUID | None) -> int:
    """End all sessions of a user but the one with the id ``keep``, as a part of a change that its maker records and
    commits. Returns how many."""
    return end_where(session, of_user(user_id), *([UserSession.id != keep] if keep else []))


def end_of_member(session: Session, membership_id: UUID) -> int:
    """End a user's sessions in one tenant; the rest as above."""
    return end_where(session, UserSession.membership_id == membership_id)


def _end_sign_ins(session: Session, which: ColumnElement[bool]) -> None:
    """Make void what is proved so far of sign-ins that are not done yet (:func:`app.identity.authentication.recall`).
    Not committed here."""
    signed_out = update(User).where(which).values(signed_out_at=now())
    session.execute(signed_out.execution_options(synchronize_session=False))
