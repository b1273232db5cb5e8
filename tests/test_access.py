"""Who may call which route: every route, every kind of caller."""

import re
from io import BytesIO
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.api_keys.authentication import hash_of, make_key
from app.api_keys.models import ApiKey
from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, Role
from tests.conftest import in_database, signed_in

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PEOPLE = {"member", "admin", "owner"}
MANAGERS = {"admin", "owner"}
KEYS = {"member's key", "admin's key"}
KEEPERS = MANAGERS | {"admin's key"}
EVERYBODY = {"stranger", "refresh token"} | PEOPLE | KEYS

MATRIX = {
    "GET /": EVERYBODY,
    "GET /docs": EVERYBODY,
    "GET /docs/static/<path:filename>": EVERYBODY,
    "GET /bootstrap/static/<path:filename>": EVERYBODY,
    "GET /static/<path:filename>": EVERYBODY,
    "GET /healthz": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "GET /readyz": EVERYBODY,
    "GET /metrics": set(),  # nobody of these: whoever has its own token, see tests/status/test_metrics.py
    "POST /api/login": EVERYBODY,
    "POST /api/signup": EVERYBODY,
    "POST /api/signup/confirm": EVERYBODY,
    "POST /api/password-reset": EVERYBODY,
    "POST /api/password-reset/confirm": EVERYBODY,
    "POST /api/verify-email": EVERYBODY,
    "POST /api/invitations/accept": EVERYBODY,
    "POST /api/refresh": {"refresh token"},
    "POST /api/logout": PEOPLE,
    "POST /api/reauthenticate": PEOPLE,
    "GET /api/sessions": PEOPLE,
    "DELETE /api/sessions": PEOPLE,
    "DELETE /api/sessions/<uuid:session_id>": PEOPLE,
    "GET /api/me": PEOPLE,
    "POST /api/me/password": PEOPLE,
    "POST /api/me/email": PEOPLE,
    "GET /api/tenant": PEOPLE | KEYS,
    "PATCH /api/tenant": KEEPERS,
    "GET /api/members": MANAGERS,
    "GET /api/members/<uuid:id>": MANAGERS,  # and whoever it is about: see tests/tenants/test_team.py
    "PATCH /api/members/<uuid:id>": PEOPLE,  # but for what it is about: see tests/tenants/test_team.py
    "DELETE /api/members/<uuid:id>": PEOPLE,
    "GET /api/invitations": MANAGERS,
    "POST /api/invitations": MANAGERS,
    "GET /api/invitations/<uuid:id>": MANAGERS,
    "DELETE /api/invitations/<uuid:id>": MANAGERS,
    "GET /api/me/second-factor": PEOPLE,
    "POST /api/me/second-factor": PEOPLE,
    "POST /api/me/second-factor/confirm": PEOPLE,
    "DELETE /api/me/second-factor": PEOPLE,
    "POST /api/me/recovery-codes": PEOPLE,
    "GET /api/api-keys": MANAGERS,
    "POST /api/api-keys": MANAGERS,
    "GET /api/api-keys/<uuid:id>": MANAGERS,
    "DELETE /api/api-keys/<uuid:id>": MANAGERS,
    "GET /api/calls": PEOPLE | KEYS,
    "GET /api/calls/export": PEOPLE | KEYS,
    "GET /api/calls/hours-of-week": PEOPLE | KEYS,
    "GET /api/calls/missed": PEOPLE | KEYS,
    "GET /api/calls/summary": PEOPLE | KEYS,
    "GET /api/calls/top-callers": PEOPLE | KEYS,
    "GET /api/calls/volume": PEOPLE | KEYS,
    "GET /api/calls/<uuid:id>": PEOPLE | KEYS,
    "GET /api/audit-events": KEEPERS,
    "GET /api/encryption": {"owner"},
    "GET /api/phone-systems": KEEPERS,
    "POST /api/phone-systems": KEEPERS,
    "GET /api/phone-systems/<uuid:id>": KEEPERS,
    "PATCH /api/phone-systems/<uuid:id>": KEEPERS,
    "DELETE /api/phone-systems/<uuid:id>": KEEPERS,
    "POST /api/phone-systems/<uuid:id>/webhook-password": KEEPERS,
    "DELETE /api/phone-systems/<uuid:id>/webhook-password/previous": KEEPERS,
    "GET /api/phone-systems/<uuid:id>/health": KEEPERS,
    "GET /api/phone-systems/<uuid:id>/unreadable-deliveries": KEEPERS,
    "DELETE /api/phone-systems/<uuid:id>/unreadable-deliveries": KEEPERS,
    "GET /api/phone-systems/<uuid:id>/unreadable-deliveries/<uuid:delivery_id>": KEEPERS,
    "GET /api/payment-accounts": KEEPERS,
    "POST /api/payment-accounts": KEEPERS,
    "GET /api/payment-accounts/<uuid:id>": KEEPERS,
    "PATCH /api/payment-accounts/<uuid:id>": KEEPERS,
    "DELETE /api/payment-accounts/<uuid:id>": KEEPERS,
    "GET /api/api-credentials": KEEPERS,
    "POST /api/api-credentials": KEEPERS,
    "GET /api/api-credentials/<uuid:id>": KEEPERS,
    "PATCH /api/api-credentials/<uuid:id>": KEEPERS,
    "DELETE /api/api-credentials/<uuid:id>": KEEPERS,
    "POST /hooks/<subdomain>/<phone_system_id>/cdr": set(),  # with webhook credentials alone
}

# With the browser's cookie.
PAGES = {
    "GET /sign-in": EVERYBODY,
    "POST /sign-in": EVERYBODY,
    "POST /sign-out": EVERYBODY,
    "GET /overview": PEOPLE,
    "GET /calls": PEOPLE,
    "GET /calls/export.csv": PEOPLE,
    "GET /calls/<uuid:id>": PEOPLE,
    "GET /api-credentials": MANAGERS,
    "GET /api-credentials/<uuid:id>": MANAGERS,
    "GET /api-credentials/<uuid:id>/delete": MANAGERS,
    "POST /api-credentials/<uuid:id>/delete": MANAGERS,
    "GET /api-credentials/<uuid:id>/edit": MANAGERS,
    "POST /api-credentials/<uuid:id>/edit": MANAGERS,
    "GET /api-credentials/<uuid:id>/secret": MANAGERS,
    "POST /api-credentials/<uuid:id>/secret": MANAGERS,
    "GET /api-credentials/<uuid:id>/secret/remove": MANAGERS,
    "POST /api-credentials/<uuid:id>/secret/remove": MANAGERS,
    "GET /api-credentials/new": MANAGERS,
    "POST /api-credentials/new": MANAGERS,
    "GET /payment-accounts": MANAGERS,
    "GET /payment-accounts/<uuid:id>": MANAGERS,
    "GET /payment-accounts/<uuid:id>/delete": MANAGERS,
    "POST /payment-accounts/<uuid:id>/delete": MANAGERS,
    "GET /payment-accounts/<uuid:id>/edit": MANAGERS,
    "POST /payment-accounts/<uuid:id>/edit": MANAGERS,
    "GET /payment-accounts/<uuid:id>/secret": MANAGERS,
    "POST /payment-accounts/<uuid:id>/secret": MANAGERS,
    "GET /payment-accounts/<uuid:id>/secret/remove": MANAGERS,
    "POST /payment-accounts/<uuid:id>/secret/remove": MANAGERS,
    "GET /payment-accounts/new": MANAGERS,
    "POST /payment-accounts/new": MANAGERS,
    "GET /phone-systems": MANAGERS,
    "GET /phone-systems/<uuid:id>": MANAGERS,
    "GET /phone-systems/<uuid:id>/arrivals": MANAGERS,
    "GET /phone-systems/<uuid:id>/delete": MANAGERS,
    "POST /phone-systems/<uuid:id>/delete": MANAGERS,
    "GET /phone-systems/<uuid:id>/edit": MANAGERS,
    "POST /phone-systems/<uuid:id>/edit": MANAGERS,
    "GET /phone-systems/<uuid:id>/secret": MANAGERS,
    "POST /phone-systems/<uuid:id>/secret": MANAGERS,
    "GET /phone-systems/<uuid:id>/secret/remove": MANAGERS,
    "POST /phone-systems/<uuid:id>/secret/remove": MANAGERS,
    "GET /phone-systems/<uuid:id>/webhook-password": MANAGERS,
    "POST /phone-systems/<uuid:id>/webhook-password": MANAGERS,
    "GET /phone-systems/<uuid:id>/webhook-password/end-grace": MANAGERS,
    "POST /phone-systems/<uuid:id>/webhook-password/end-grace": MANAGERS,
    "GET /phone-systems/<uuid:id>/webhook-password/remove": MANAGERS,
    "POST /phone-systems/<uuid:id>/webhook-password/remove": MANAGERS,
    "GET /phone-systems/<uuid:id>/unreadable-deliveries/<uuid:delivery_id>": MANAGERS,
    "GET /phone-systems/<uuid:id>/unreadable-deliveries/clear": MANAGERS,
    "POST /phone-systems/<uuid:id>/unreadable-deliveries/clear": MANAGERS,
    "GET /phone-systems/new": MANAGERS,
    "POST /phone-systems/new": MANAGERS,
    "GET /organisation": MANAGERS,
    "POST /organisation": MANAGERS,
    "GET /organisation/call-retention": {"owner"},
    "POST /organisation/call-retention": {"owner"},
    "GET /team": MANAGERS,
    "GET /team/invite": MANAGERS,
    "POST /team/invite": MANAGERS,
    "GET /team/invitations/<uuid:id>/take-back": MANAGERS,
    "POST /team/invitations/<uuid:id>/take-back": MANAGERS,
    "GET /team/members/<uuid:id>": MANAGERS,
    "POST /team/members/<uuid:id>": MANAGERS,
    "GET /team/members/<uuid:id>/remove": MANAGERS,
    "POST /team/members/<uuid:id>/remove": MANAGERS,
    "GET /api-keys": MANAGERS,
    "GET /api-keys/new": MANAGERS,
    "POST /api-keys/new": MANAGERS,
    "GET /api-keys/<uuid:id>/delete": MANAGERS,
    "POST /api-keys/<uuid:id>/delete": MANAGERS,
    "GET /audit": MANAGERS,
    "GET /encryption": {"owner"},
    "GET /encryption/now": {"owner"},
    "GET /sign-up": EVERYBODY,
    "POST /sign-up": EVERYBODY,
    "GET /sign-up/confirm": EVERYBODY,
    "POST /sign-up/confirm": EVERYBODY,
    "GET /mail-sent": EVERYBODY,
    "GET /somebody-else": EVERYBODY,
    "GET /forgot-password": EVERYBODY,
    "POST /forgot-password": EVERYBODY,
    "GET /reset-password": EVERYBODY,
    "POST /reset-password": EVERYBODY,
    "GET /verify-email": EVERYBODY,
    "POST /verify-email": EVERYBODY,
    "GET /accept-invitation": EVERYBODY,
    "POST /accept-invitation": EVERYBODY,
    "GET /account": PEOPLE,
    "GET /account/email": PEOPLE,
    "POST /account/email": PEOPLE,
    "GET /account/password": PEOPLE,
    "POST /account/password": PEOPLE,
    "POST /account/sessions/<uuid:session_id>/end": PEOPLE,
    "POST /account/sessions/end-others": PEOPLE,
    "POST /account/sessions/end-all": PEOPLE,
    "GET /account/leave": PEOPLE,
    "POST /account/leave": PEOPLE,
    "GET /account/second-factor": PEOPLE,
    "POST /account/second-factor": PEOPLE,
    "GET /account/second-factor/confirm": PEOPLE,
    "POST /account/second-factor/confirm": PEOPLE,
    "GET /account/second-factor/remove": PEOPLE,
    "POST /account/second-factor/remove": PEOPLE,
    "GET /account/recovery-codes": PEOPLE,
    "POST /account/recovery-codes": PEOPLE,
    "GET /tenants": PEOPLE,
    "POST /tenants/<uuid:tenant_id>": PEOPLE,
}


def routes(app):
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield f"{method} {rule.rule}"


def client_of(app, alice, caller):
    """Alice's client, in that role, with a session of its own: some requests end it."""
    if caller == "stranger":
        return app.test_client()
    with in_database(app):
        membership = db.session.scalars(select(Membership).where(Membership.user_id == alice.user_id)).one()
        if caller in KEYS:
            return client_with_key(app, alice, caller.partition("'")[0])
        started = sessions.start(db.session(), membership, None, "")
        subject = tokens.Subject(alice.user_id, alice.tenant_id, started.id)
        if caller != "refresh token":
            return signed_in(app, subject)
        token = tokens.refresh_token(subject, started.refresh_id, sessions.lifetime().absolute)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def client_with_key(app, alice, role):
    prefix, key = make_key()
    row = {"role": role, "prefix": prefix, "token_hash": hash_of(key), "name": "Wallboard", "created_by": alice.email}
    db.session.add(ApiKey(tenant_id=alice.tenant_id, **row))
    db.session.commit()
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def browser_of(app, alice, caller):
    """The same with the cookie of such a session."""
    client = app.test_client()
    if caller != "stranger":
        with in_database(app):
            membership = db.session.scalars(select(Membership).where(Membership.user_id == alice.user_id)).one()
            started = sessions.start(db.session(), membership, None, "")
        with client.session_transaction() as cookie:
            cookie["subject"] = [str(one) for one in (alice.user_id, alice.tenant_id, started.id)]
    return client


def test_every_route_is_in_the_matrix(app):
    assert sorted(routes(app)) == sorted(MATRIX | PAGES)


@pytest.mark.parametrize("caller", ["stranger", *sorted(PEOPLE)])
def test_a_page_lets_in_whom_the_matrix_says_and_nobody_else(app, alice, caller):
    with in_database(app):
        role = caller if caller in PEOPLE else Role.OWNER
        db.session.execute(update(Membership).where(Membership.user_id == alice.user_id).values(role=role))
        db.session.commit()
    for route, callers in PAGES.items():
        method, rule = route.split(" ")
        client = browser_of(app, alice, caller)
        url = re.sub(r"<[^>]+>", str(UUID(int=0)), rule)
        answer = client.open(url, method=method, headers={"Sec-Fetch-Site": "same-origin"})
        if caller in callers or callers is EVERYBODY:  # a POST without a CSRF token does nothing, but shows its form
            assert answer.status_code in (200, 303, 404, 422), (route, answer.status_code)
            assert "/sign-in?" not in answer.headers.get("Location", ""), route
        elif caller == "stranger":
            assert "/sign-in" in answer.headers.get("Location", "") or "<h1>Sign in</h1>" in answer.text, route
        else:
            assert answer.status_code == 403, route


@pytest.mark.parametrize("caller", sorted(EVERYBODY))
def test_a_route_lets_in_whom_the_matrix_says_and_nobody_else(app, alice, caller):
    with in_database(app):
        role = caller if caller in PEOPLE else Role.OWNER
        db.session.execute(update(Membership).where(Membership.user_id == alice.user_id).values(role=role))
        db.session.commit()
    for route, callers in MATRIX.items():
        method, rule = route.split(" ")
        url = re.sub(r"<[^>]+>", str(UUID(int=0)), rule)
        body = {} if method in ("POST", "PATCH") else None
        status = client_of(app, alice, caller).open(url, method=method, json=body).status_code
        # Else it is not even the right kind of credentials. A key is told that people are meant.
        is_known = (caller in PEOPLE and callers & PEOPLE) or (
            caller in KEYS and callers & (PEOPLE | {"refresh token"})
        )
        allowed = {200, 204, 404, 409, 422} if caller in callers else {403} if is_known else {401}
        assert status in allowed, (route, status)


class BodyThatWaits(BytesIO):
    """A request body of which nothing can be read before something else has happened."""

    def __init__(self, body, happen):
        super().__init__(body)
        self.happen = happen

    def readinto(self, buffer):
        self.happen()
        return super().readinto(buffer)


def test_whoever_is_demoted_while_their_request_arrives_is_refused(app, alice, bob):
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role=Role.ADMIN))
        db.session.commit()

    def demote():
        with in_database(app):
            db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role=Role.MEMBER))
            db.session.commit()

    body = b'{"name": "Mine", "role": "admin"}'
    answer = bob.client.post(
        "/api/api-keys",
        input_stream=BodyThatWaits(body, demote),
        content_type="application/json",
        content_length=len(body),
    )
    assert answer.status_code == 403
    assert alice.client.get("/api/api-keys").json["items"] == []
