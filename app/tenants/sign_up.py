"""Signing up: whoever confirms an e-mail address gets a tenant, and owns it. Nothing is taken or told before that."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from flask import current_app
from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.actors import Actor, act_as
from app.database import now, uuid7
from app.errors import Conflict, Forbidden
from app.identity import accounts
from app.identity.models import Membership, Role
from app.identity.one_time import LinkNotValid, fingerprint, new_token
from app.identity.users import add_membership, canonical_email
from app.mail import service as mail
from app.mail.messages import ConfirmSignUp
from app.tenancy import system_scope, tenant_scope
from app.tenants.models import SignUp
from app.tenants.service import checked_tenant, record_created, subdomain_taken

EXPIRES: Final = timedelta(days=1)


def require_open() -> None:
    """Raise :class:`~app.errors.Forbidden` where nobody can sign up by themselves."""
    if not current_app.config["SIGN_UP_OPEN"]:
        raise Forbidden("Nobody can sign up here by themselves: ask a team for an invitation, or the operator.")


def request(session: Session, *, email: str, tenant_name: str, subdomain: str, time_zone: str) -> None:
    """Keep what somebody wants, in place of what that address wanted before, and mail a link to confirm it. Whether the
    address has an account is not even looked up.

    Raises :class:`~app.errors.Invalid`, :class:`~app.errors.Conflict` when the subdomain is taken, and
    :class:`~app.errors.Unavailable`.
    """
    email, token, expires_at = canonical_email(email), new_token(), now() + EXPIRES
    tenant = checked_tenant(tenant_name, subdomain, time_zone)
    _require_free(session, tenant.subdomain)
    _forget(session, or_(SignUp.email == email, SignUp.expires_at <= now()))
    session.add(
        SignUp(
            email=email,
            tenant_name=tenant.name,
            subdomain=tenant.subdomain,
            time_zone=tenant.time_zone,
            token_hash=fingerprint(token),
            expires_at=expires_at,
        )
    )
    mail.queue(session, email, ConfirmSignUp(token, expires_at))
    session.commit()


class PendingSignUp(NamedTuple):
    """What confirming a sign-up would make. has_account: whether there is an account with that address, which then
    keeps its password."""

    email: str
    tenant_name: str
    subdomain: str
    time_zone: str
    has_account: bool


def look_up(session: Session, token: str) -> PendingSignUp:
    """What the token of a mailed link is good for. Uses nothing up, and ends the transaction.

    Raises :class:`~app.identity.one_time.LinkNotValid` wherever :func:`confirm` would.
    """
    wanted = select(SignUp.email, SignUp.tenant_name, SignUp.subdomain, SignUp.time_zone).where(*_good(token))
    found = session.execute(wanted).one_or_none()
    session.rollback()
    if found is None:
        raise LinkNotValid
    return PendingSignUp(*found, has_account=accounts.has_account(session, found.email))


def confirm(session: Session, token: str, password: str | None, subdomain: str | None) -> Membership:
    """Make the tenant that was signed up for, owned by the account of the address, which is opened with ``password`` if
    there is none.

    subdomain: in place of the one that was asked for, which somebody else may have by now.

    Raises :class:`~app.identity.one_time.LinkNotValid`, :class:`~app.errors.Invalid`, and
    :class:`~app.errors.Conflict` when the subdomain is taken: the token is good for another try then.
    """
    wanted = look_up(session, token)
    tenant = checked_tenant(wanted.tenant_name, subdomain or wanted.subdomain, wanted.time_zone)
    _require_free(session, tenant.subdomain)
    session.rollback()  # nobody should wait for a password to be hashed
    password_hash = accounts.prepare_account(wanted.email, wanted.has_account, password, tenant.subdomain)
    tenant.id = uuid7()
    with tenant_scope(tenant.id):
        used = delete(SignUp).where(*_good(token)).returning(SignUp.id)
        if session.scalar(used.execution_options(synchronize_session=False)) is None:
            session.rollback()
            raise LinkNotValid
        _forget(session, SignUp.email == wanted.email)
        try:
            user = accounts.open_account(session, wanted.email, password_hash)
            membership = add_membership(session, user, tenant, Role.OWNER)
            session.flush()
            act_as(Actor("user", user.id, user.email))
            record_created(session, tenant, user.email)
            session.commit()
        except IntegrityError:
            session.rollback()
            raise Conflict("The subdomain or the e-mail address was taken in this very moment.") from None
    return membership


def _require_free(session: Session, subdomain: str) -> None:
    with system_scope():  # it must differ from all other tenants'
        taken = subdomain_taken(session, subdomain)
    if taken:
        session.rollback()
        raise Conflict("This subdomain is taken.")


def _good(token: str) -> tuple[ColumnElement[bool], ...]:
    return SignUp.token_hash == fingerprint(token), SignUp.expires_at > now()


def _forget(session: Session, which: ColumnElement[bool]) -> None:
    session.execute(delete(SignUp).where(which).execution_options(synchronize_session=False))
