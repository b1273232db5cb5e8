"""Somebody who makes a request did not prove who they are."""

from __future__ import annotations

from app.audit.requests import refusal_is_recorded
from app.errors import Problem
from app.extensions import db
from app.identity import second_factor, service


def record(account: str, refusal: Problem, subdomain: str | None = None) -> None:
    """Record that whoever makes the request did not prove to be who has that account. subdomain: of the tenant that
    they named."""
    reason = refusal.reason if isinstance(refusal, second_factor.CodeRefused | service.TenantNeeded) else None
    service.record_refusal(db.session(), account, reason, subdomain)
    refusal_is_recorded()


def record_lock_out(account: str) -> None:
    """Record that there were too many attempts at that account."""
    service.record_lock_out(db.session(), account)
    refusal_is_recorded()
