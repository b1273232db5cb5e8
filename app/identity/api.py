"""Signing in and out, and the sessions of whoever is signed in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import request

from app.audit.actors import Actor, act_as
from app.database import now
from app.errors import TooManyRequests, Unauthenticated
from app.extensions import db
from app.identity import authentication, refusals, second_factor, sessions, signing_out, throttle, tokens
from app.identity.access import current_membership, current_session, current_token_id
from app.identity.models import UserSession
from app.identity.schemas import Credentials, Me, Proof, SessionOut, Tokens
from app.limits.budget import costs
from app.limits.counting import limited
from app.limits.limit import Limit
from app.pagination import Page, PageQuery
from app.tenancy import enter_tenant_scope

login = APIBlueprint("login", __name__, url_prefix="/api/login", tag="Sign-in")
refresh = APIBlueprint("refresh", __name__, url_prefix="/api/refresh", tag="Sign-in")
reauthenticate = APIBlueprint("reauthenticate", __name__, url_prefix="/api/reauthenticate", tag="Sign-in")
logout = APIBlueprint("logout", __name__, url_prefix="/api/logout", tag="Sign-in")
sessions_api = APIBlueprint("sessions", __name__, url_prefix="/api/sessions", tag="Sign-in")
me = APIBlueprint("me", __name__, url_prefix="/api/me", tag="Sign-in")


@login.post("")
@limited(Limit.SIGN_IN)
@login.input(Credentials)
@login.output(Tokens, description="Signed in")
@login.doc(
    summary="Sign in",
    responses={
        401: "The e-mail address, the password or the tenant is not right; or the code, where `errors` says so",
        429: "Too many attempts from this address, or to sign in to this account",
    },
)
def sign_in(json_data: Credentials) -> dict[str, Any]:
    account, session = authentication.account_of(json_data.email), db.session()
    attempt = throttle.Attempt(account, request.remote_addr)
    try:
        verified = authentication.authenticate(session, attempt, json_data.password.get_secret_value())
        if verified.has_second_factor and json_data.code is not None:
            attempt.count_code(session)
        membership = authentication.choose_membership(session, verified, json_data.tenant)
        told = second_factor.use_code(session, membership.user, code_in(json_data))
    except (Unauthenticated, authentication.TenantNeeded) as refusal:
        refusals.record(account, refusal, json_data.tenant)
        raise
    except TooManyRequests:
        refusals.record_lock_out(account)
        raise
    enter_tenant_scope(membership.tenant_id)
    act_as(Actor("user", verified.user_id, account))
    attempt.succeeded(session)
    started = sessions.start(session, membership, request.remote_addr, request.user_agent.string, told)
    return _tokens(started, verified.user_id)


@refresh.post("")
@refresh.output(Tokens, description="New tokens")
@refresh.doc(
    summary="Get new tokens for a refresh token",
    description="Which is used up by this. A second use ends the session: one of the two is not who signed in.",
)
@costs(0)
def renew() -> dict[str, Any]:
    renewed = sessions.renew(db.session(), current_session().id, current_token_id())
    return _tokens(renewed, current_session().user_id)


@reauthenticate.post("")
@limited(Limit.SIGN_IN)
@reauthenticate.input(Proof)
@reauthenticate.output({}, status_code=204, description="Proved, for the next five minutes")
@reauthenticate.doc(
    summary="Prove once more who you are",
    description="For what needs a fresh sign-in: changing a secret, the ways to sign in or a role, and deleting.",
    responses={
        401: "No valid token, or the password is not right; or the code, where `errors` says so",
        429: "Too many attempts from this address, or to sign in to this account",
    },
)
@costs(0)
def prove(json_data: Proof) -> tuple[str, int]:
    asking = current_session()
    attempt = throttle.Attempt(asking.email, request.remote_addr)
    try:
        verified = authentication.authenticate(db.session(), attempt, json_data.password.get_secret_value())
        if verified.has_second_factor and json_data.code is not None:
            attempt.count_code(db.session())
        user = authentication.require_unchanged(db.session(), verified)
        told = second_factor.use_code(db.session(), user, code_in(json_data))
    except Unauthenticated as refusal:
        refusals.record(asking.email, refusal)
        raise
    attempt.succeeded(db.session())
    sessions.set_authenticated(db.session(), asking.id, told)
    return "", 204


@logout.post("")
@logout.output({}, status_code=204, description="Signed out")
@logout.doc(summary="Sign out: end the session that asks")
@costs(0)
def sign_out() -> tuple[str, int]:
    signing_out.end(db.session(), current_session().user_id, current_session().id)
    return "", 204


@sessions_api.get("")
@sessions_api.input(PageQuery, location="query")
@sessions_api.output(Page[SessionOut], description="A page of them")
@sessions_api.doc(summary="List one's own sessions, newest first")
@costs(20)
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = sessions.list_page(db.session(), current_session().user_id, query_data)
    return {"items": [_shown(item) for item in items], "next": following}


@sessions_api.delete("/<uuid:session_id>")
@sessions_api.output({}, status_code=204, description="Ended")
@sessions_api.doc(summary="End one of one's own sessions")
@costs(0)
def end(session_id: UUID) -> tuple[str, int]:
    signing_out.end(db.session(), current_session().user_id, session_id)
    return "", 204


@sessions_api.delete("")
@sessions_api.output({}, status_code=204, description="Ended: also the one that asks")
@sessions_api.doc(summary="Sign out everywhere: end all of one's own sessions")
@costs(0)
def end_all() -> tuple[str, int]:
    signing_out.end_of_user(db.session(), current_session().user_id)
    return "", 204


@me.get("")
@me.output(Me, description="The user and the tenant")
@me.doc(summary="Show who is signed in, and to which tenant")
@costs(10)
def show() -> dict[str, Any]:
    it = current_membership()
    return {
        "user": it.user,
        "tenant": it.tenant,
        "role": it.role,
        "membership_id": it.id,
        "second_factor": it.user.has_second_factor,
    }


def code_in(body: Credentials | Proof) -> str | None:
    """The code of the second factor that was sent."""
    return body.code.get_secret_value() if body.code is not None else None


def _tokens(it: UserSession, user_id: UUID) -> dict[str, Any]:
    subject = tokens.Subject(user_id, it.tenant_id, it.id)
    left = it.started_at + sessions.lifetime().absolute - now()
    return {
        "access_token": tokens.access_token(subject),
        "expires_in": int(tokens.access_expires().total_seconds()),
        "refresh_token": tokens.refresh_token(subject, it.refresh_id, left),
    }


def _shown(item: UserSession) -> dict[str, Any]:
    names = ("id", "started_at", "used_at", "address", "user_agent")
    shown = {name: getattr(item, name) for name in names}
    return shown | {"tenant": item.membership.tenant, "current": item.id == current_session().id}
