"""Who may use a blueprint: one of these functions is declared beside each where it is registered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast
from uuid import UUID

from apiflask import APIFlask
from flask import Blueprint, g, request

from app.errors import Forbidden, Unauthenticated
from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, Role
from app.tenancy import enter_tenant_scope

log = logging.getLogger(__name__)


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


def current_membership() -> Membership:
    """Who makes the request, and for which tenant."""
    return cast(Membership, g.membership)


def current_session_id() -> UUID:
    """The session that the request's token belongs to."""
    return cast(UUID, g.session_id)


def current_token_id() -> UUID:
    """The id of the request's token."""
    return cast(UUID, g.token_id)


def _identify(token_type: tokens.TokenType) -> None:
    try:
        subject, g.token_id = tokens.verify(token_type)
        enter_tenant_scope(subject.tenant_id)
        membership = sessions.find_membership(db.session(), *subject)
        db.session.commit()  # the body may arrive slowly: no transaction, on SQLite the write lock, waits for it
    except Unauthenticated as refusal:
        log.info("token refused, request %s, %s %s: %s", g.request_id, request.method, request.endpoint, refusal.detail)
        raise
    g.membership, g.session_id = membership, subject.session_id
