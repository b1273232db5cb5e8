"""What a tenant's requests may cost together in a minute, so that no tenant takes the service from the others.

A route says beside itself what it costs. For comparison: 10 to read or change one thing, or to deliver; 20 for a page;
1000 for a file with all there is; 100 for what hashes a password, sends a mail or asks another server; 0 for what must
always work: signing out and staying signed in, and what an owner needs to stop a member or a key that uses up
everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from flask import Flask, current_app, request
from limits import RateLimitItem, RateLimitItemPerMinute

from app.limits import counting

View = TypeVar("View", bound=Callable[..., Any])

OVER_BUDGET: Final = "Your organisation has used up what its requests may cost in a minute: wait before trying again."


def init_app(app: Flask, units: int) -> None:
    """units: for each tenant and minute."""
    app.extensions["tenant_budget"] = RateLimitItemPerMinute(units)


def costs(units: int) -> Callable[[View], View]:
    """Declares what each request to a view takes from its tenant's budget. Stands below the route's decorator."""

    def declare(view: View) -> View:
        view.__dict__["cost"] = units
        return view

    return declare


def cost_of(endpoint: str) -> int | None:
    """What is declared for a route; None if nothing is."""
    return cast("int | None", getattr(current_app.view_functions.get(endpoint), "cost", None))


def spend_for(tenant_id: UUID) -> None:
    """Take what the request costs from its tenant's budget. To be called once the sender was authenticated: nobody else
    may spend it. Raises :class:`~app.errors.TooManyRequests`."""
    if units := cost_of(request.endpoint or ""):
        budget: RateLimitItem = current_app.extensions["tenant_budget"]
        # Deliveries have as much for themselves: whatever people and programs ask for, no call record is lost by it.
        purse = "DELIVERIES" if request.path.startswith("/hooks/") else "API"
        counting.spend(budget, units, purse, str(tenant_id), refusal=OVER_BUDGET)
