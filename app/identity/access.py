"""Who may use a blueprint: one of these functions is declared beside each where it is registered."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from apiflask import APIFlask
from flask import Blueprint, current_app, g, request
from flask.typing import ResponseReturnValue

from app.api_keys import authentication
from app.audit.actors import Actor, act_as
from app.database import now
from app.errors import Forbidden, NotFresh, Unauthenticated
from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, Role
from app.identity.sessions import SignedIn
from app.limits import budget
from app.tenancy import enter_tenant_scope

log = logging.getLogger(__name__)

FRESH: Final = timedelta(minutes=5)
NOT_FRESH: Final = "No valid token, or its user has to prove once more who they are: see `POST /api/reauthenticate`"

Who = Callable[[], ResponseReturnValue | None]
View = TypeVar("View", bound=Callable[..., Any])


def register(app: APIFlask, blueprint: Blueprint, who: Who) -> None:
    """Register a blueprint for those whom ``who`` lets pass; for everybody else it raises, or answers, before any view
    is run."""
    app.register_blueprint(blueprint)
    app.before_request_funcs[blueprint.name].insert(0, who)
    app.extensions.setdefault("access", {})[blueprint.name] = who


def public() -> None:
    """Anybody."""


def phone_system() -> None:
    """A phone system with its webhook credentials. Which ones those are, the address says: the view asks for them."""


def monitor() -> None:
    """Whoever has METRICS_TOKEN, which gives nothing else: not a person, not a tenant's."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given, expected = (hashlib.sha256(text.encode()).digest() for text in (token, current_app.config["METRICS_TOKEN"]))
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, expected):
        raise Unauthenticated("This needs the token for monitoring.")


def any_role() -> None:
    """Members of a tenant, with an access token, and its API keys. A removed member, a changed role, a deleted key:
    each counts at once."""
    _identify("access")


def owner_or_admin() -> None:
    """Members who keep the tenant's integrations, and API keys that may."""
    any_role()
    require_owner_or_admin()


def signed_in() -> None:
    """Members of a tenant in person, with an access token: what is about them, no API key may do."""
    any_role()
    current_session()


def signed_in_owner_or_admin() -> None:
    """Owners and admins of a tenant in person."""
    signed_in()
    require_owner_or_admin()


def signed_in_owner() -> None:
    """Owners of a tenant in person."""
    signed_in()
    require_owner()


def with_refresh_token() -> None:
    """Members of a tenant in person, with a refresh token."""
    _identify("refresh")
    current_session()


def require_fresh() -> None:
    """Raise :class:`~app.errors.NotFresh` unless who makes the request proved lately who they are: before a secret, the
    ways to sign in or a role is changed, and before anything is deleted. A token alone may have been stolen.

    API keys pass: one is what its owner proves themselves with, and is sent with every request.
    """
    session = current_caller().session
    if session is not None and (session.authenticated_at is None or session.authenticated_at < now() - FRESH):
        raise NotFresh(FRESH)


def fresh(view: View) -> View:
    """Decorate a view that asks :func:`require_fresh` whatever it is sent. The description of the API says so."""

    @wraps(view)
    def fresh_view(*args: Any, **kwargs: Any) -> Any:
        require_fresh()
        return view(*args, **kwargs)

    cast(Any, fresh_view).needs_fresh_sign_in = True
    return cast(View, fresh_view)


@dataclass(frozen=True)
class Caller:
    """Whom a request is from: a member of a tenant, by their session, or a machine, by one of the tenant's API keys.
    The other of the two is None."""

    tenant_id: UUID
    role: str
    session: SignedIn | None = None
    api_key_id: UUID | None = None


def current_caller() -> Caller:
    """Who makes the request."""
    return cast(Caller, g.caller)


def current_tenant_id() -> UUID:
    """The id of the tenant that the request is for."""
    return current_caller().tenant_id


def current_session() -> SignedIn:
    """The session that the request's token belongs to. Raises :class:`~app.errors.Forbidden` for an API key, so that
    what asks for a person never goes on without one."""
    session = current_caller().session
    if session is None:
        raise Forbidden("This is for people who are signed in: an API key may not do it.")
    return session


def current_membership() -> Membership:
    """Who makes the request, with user and tenant. Raises as :func:`current_session` does."""
    if "membership" not in g:
        g.membership = sessions.get_membership(db.session(), current_session())
    return cast(Membership, g.membership)


def current_token_id() -> UUID:
    """The id of the request's token."""
    return cast(UUID, g.token_id)


def _identify(token_type: tokens.TokenType) -> None:
    """The body is read in between: it may arrive slowly, and whose session or key it is, is asked when it is there."""
    try:
        api_key = _sent_api_key()
        g.caller = _person(token_type) if api_key is None else _machine(api_key)
    except Unauthenticated as refusal:
        log.info("token refused, %s %s: %s", request.method, request.endpoint, refusal.detail)
        raise
    budget.spend_for(current_tenant_id())


def _person(token_type: tokens.TokenType) -> Caller:
    subject, g.token_id = tokens.verify(token_type)
    request.get_data()
    enter_tenant_scope(subject.tenant_id)
    session = sessions.find(db.session(), *subject)
    act_as(Actor("user", session.user_id, session.email))
    return Caller(session.tenant_id, session.role, session=session)


def _machine(api_key: str) -> Caller:
    request.get_data()
    found = authentication.authenticate(db.session(), api_key)
    enter_tenant_scope(found.tenant_id)
    act_as(Actor("api_key", found.id, found.name))
    authentication.note_use(db.session(), found)
    return Caller(found.tenant_id, found.role, api_key_id=found.id)


def _sent_api_key() -> str | None:
    """What was sent as an API key; None where it cannot be one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token.startswith(authentication.BEGINNING) else None


def require_owner_or_admin() -> None:
    """Raise :class:`~app.errors.Forbidden` for everybody else: for one view of a blueprint that members may use."""
    if current_caller().role not in (Role.OWNER, Role.ADMIN):
        raise Forbidden("Only owners and admins of the organisation may do this.")


def require_owner() -> None:
    """Raise :class:`~app.errors.Forbidden` for everybody else, API keys too."""
    if current_caller().role != Role.OWNER:
        raise Forbidden("Only owners of the organisation may do this.")
