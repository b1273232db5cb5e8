"""Signing in."""

from __future__ import annotations

import logging
from typing import Any

from apiflask import APIBlueprint
from flask import current_app, g
from flask_limiter.util import get_remote_address

from app.errors import Unauthenticated
from app.extensions import db, limiter
from app.identity import service, throttle, tokens
from app.identity.access import current_membership
from app.identity.models import Membership
from app.identity.schemas import AccessToken, Credentials, Me, Tokens

log = logging.getLogger(__name__)

login = APIBlueprint("login", __name__, url_prefix="/api/login", tag="Sign-in")
refresh = APIBlueprint("refresh", __name__, url_prefix="/api/refresh", tag="Sign-in")
me = APIBlueprint("me", __name__, url_prefix="/api/me", tag="Sign-in")


@login.post("")
@limiter.limit(throttle.PER_ADDRESS)
@login.input(Credentials)
@login.output(Tokens, description="Signed in")
@login.doc(
    summary="Sign in",
    responses={
        401: "The e-mail address, the password or the tenant is not right",
        429: "Too many attempts from this address, or to sign in to this account",
    },
)
def sign_in(json_data: Credentials) -> dict[str, Any]:
    account, session = service.account_of(json_data.email), db.session()
    attempt = throttle.Attempt(account, get_remote_address())
    attempt.count()
    try:
        user_id = service.authenticate(session, account, json_data.password.get_secret_value())
        attempt.succeeded()
        membership = service.choose_membership(session, user_id, json_data.tenant)
    except Unauthenticated:
        log.warning("sign-in refused, request %s, from %s", g.request_id, get_remote_address())
        raise
    subject = _subject(membership)
    log.info("signed in: user %s of tenant %s, request %s", subject.user_id, subject.tenant_id, g.request_id)
    return _new_access_token(subject) | {"refresh_token": tokens.refresh_token(subject)}


@refresh.post("")
@refresh.output(AccessToken, description="A new access token")
@refresh.doc(summary="Get a new access token for a refresh token")
def renew() -> dict[str, Any]:
    return _new_access_token(_subject(current_membership()))


@me.get("")
@me.output(Me, description="The user and the tenant")
@me.doc(summary="Show who is signed in, and to which tenant")
def show() -> Me:
    return Me.model_validate(current_membership())


def _subject(membership: Membership) -> tokens.Subject:
    return tokens.Subject(membership.user_id, membership.tenant_id)


def _new_access_token(subject: tokens.Subject) -> dict[str, Any]:
    lifetime = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return {"access_token": tokens.access_token(subject), "expires_in": int(lifetime.total_seconds())}
