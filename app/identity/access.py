"""Who may use a blueprint: one of these functions is declared beside each where it is registered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, cast
from uuid import UUID

from apiflask import APIFlask
from flask import Blueprint, g, request

from app.audit.actors import Actor, act_as
from app.database import now
from app.errors import Forbidden, NotFresh, Unauthenticated
from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, Role, UserSession
from app.limits import budget
from app.tenancy import enter_tenant_scope
from app.web import has_body

log = logging.getLogger(__name__)

FRESH: Final = timedelta(minutes=5)

Who = Callable[[], None]


def register(app: APIFlask, blueprint: Blueprint, who: Who) -> None:
    """Register a blueprint for those whom ``who`` lets pass; it raises for everybody else, before any view is run."""
    app.register_blueprint(blueprint)
    app.before_request_funcs[blueprint.name].insert(0, who)
    app.extensions.setdefault("access", {})[blueprint.name] = who


def public() -> None:
    """Anybody."""


def phone_system() -> None:
    """A phone system with its webhook credentials. Which ones those are, the address says: the view asks for them."""


def signed_in() -> None:
    """Members of a tenant, with an access token. A removed member or a changed role counts at once."""
    _identify("access")


def owner_or_admin() -> None:
    """Members who keep the tenant's integrations."""
    signed_in()
    if current_membership().role not in (Role.OWNER, Role.ADMIN):
        raise Forbidden("Only owners and admins of the tenant may do this.")


def with_refresh_token() -> None:
    """Members of a tenant, with a refresh token."""
    _identify("refresh")


def require_fresh() -> None:
    """Raise :class:`~app.errors.NotFresh` unless who makes the request proved lately who they are: before a secret, the
    ways to sign in or a role is changed, and before anything is deleted. A token alone may have been stolen."""
    proved_at = current_session().authenticated_at
    if proved_at is None or proved_at < now() - FRESH:
        raise NotFresh(FRESH)


def current_session() -> UserSession:
    """The session that the request's token belongs to, with its membership."""
    return cast(UserSession, g.session)


def current_membership() -> Membership:
    """Who makes the request, and for which tenant."""
    return current_session().membership


def current_token_id() -> UUID:
    """The id of the request's token."""
    return cast(UUID, g.token_id)


def _identify(token_type: tokens.TokenType) -> None:
    try:
        subject, g.token_id = tokens.verify(token_type)
        enter_tenant_scope(subject.tenant_id)
        g.session = sessions.find(db.session(), *subject)
        act_as(Actor("user", subject.user_id, current_membership().user.email))
        if has_body():
            db.session.commit()  # it may arrive slowly: no transaction, on SQLite the write lock, waits for it
    except Unauthenticated as refusal:
        log.info("token refused, %s %s: %s", request.method, request.endpoint, refusal.detail)
        raise
    budget.spend_for(subject.tenant_id)
