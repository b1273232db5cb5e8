"""Somebody who makes a request did not prove who they are: what the audit trail has of it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import false, select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit import tally
from app.audit.requests import refusal_is_recorded
from app.errors import Invalid, Problem
from app.extensions import db
from app.identity import second_factor
from app.identity.authentication import TenantNeeded
from app.identity.models import Membership, User
from app.identity.throttle import remove_expired
from app.identity.users import canonical_email
from app.metrics.counted import counted
from app.tenancy import system_scope
from app.tenants.models import Tenant


def record(account: str, refusal: Problem, subdomain: str | None = None) -> None:
    """Record that somebody was not let in to that account, as :func:`~app.identity.authentication.account_of` tells it:
    for each tenant that the account belongs to, or, where there is no such account, for nobody in particular. Takes as
    long in either case.

    subdomain: of the tenant that they named: if the account belongs to that, it is none of the others' business.
    """
    details = _account_details(account)
    outcome = "wrong_password"
    if isinstance(refusal, second_factor.CodeRefused | TenantNeeded):  # the password was right
        details |= {"reason": refusal.reason}
        outcome = refusal.outcome
    counted().sign_ins.labels(outcome).inc()
    session = db.session()
    session.rollback()
    with system_scope():  # whose tenants they are is what is being found out
        for tenant_id, user_id in _whose(session, account, subdomain):
            audit.record(
                session,
                "session.refused",
                tenant_id=tenant_id,
                object_id=user_id,
                outcome=audit.REFUSED,
                details=details,
            )
        remove_expired(session)
        session.commit()
    refusal_is_recorded()


def record_lock_out(account: str) -> None:
    """As :func:`record`, where there were too many attempts at that account: added up, and never stored before the
    answer, which takes as long whether or not there is such an account."""
    counted().sign_ins.labels("locked_out").inc()
    details = tuple((_account_details(account) | {"reason": "too many attempts"}).items())
    session = db.session()
    session.rollback()
    with system_scope():
        for tenant_id, user_id in _whose(session, account):
            kind = tally.Kind("session.refused", audit.REFUSED, tenant_id, user_id, details)
            tally.count(kind, at_once=False)
        session.rollback()
    refusal_is_recorded()


def _whose(session: Session, account: str, subdomain: str | None = None) -> list[tuple[UUID | None, UUID | None]]:
    """The tenants that the account belongs to, or the one of them with that subdomain, each with the user's id; or
    nobody."""
    named = Tenant.subdomain == subdomain if subdomain is not None else false()
    found = select(Membership.tenant_id, User.id, named.label("named")).join(User).join(Membership.tenant)
    rows = session.execute(found.where(User.email == account)).all()
    rows = [row for row in rows if row.named] or rows
    return [(row.tenant_id, row.id) for row in rows] or [(None, None)]


def _account_details(account: str) -> dict[str, str]:
    """Only an address: some type their password there."""
    return {"account": account} if _is_email(account) else {}


def _is_email(text: str) -> bool:
    try:
        return bool(canonical_email(text))
    except Invalid:
        return False
