"""What takes more than a valid token."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.database import now
from app.extensions import db
from app.identity import access
from app.identity.models import UserSession
from tests.conftest import PASSWORD, in_database, wait_for_senders
from tests.test_contract import contents

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

INTEGRATIONS = {
    "/api/phone-systems": {"name": "PBX", "vendor": "asterisk", "base_url": "https://pbx.acme.example"},
    "/api/payment-accounts": {"provider": "paypal", "mode": "live", "client_id": "AY"},
    "/api/api-credentials": {"name": "Maps", "provider": "acme"},
}
# Every request that needs a fresh sign-in, in an order in which all of them can be made.
SENSITIVE = [
    ("PATCH", "/api/phone-systems/{id}", {"password": "new"}),
    ("PATCH", "/api/phone-systems/{id}", {"webhook_password": None}),
    ("PATCH", "/api/phone-systems/{id}", {"name": "New", "base_url": "https://other.example"}),
    ("POST", "/api/phone-systems/{id}/webhook-password", {}),
    ("DELETE", "/api/phone-systems/{id}/webhook-password/previous", None),
    ("PATCH", "/api/payment-accounts/{id}", {"client_secret": "new"}),
    ("PATCH", "/api/payment-accounts/{id}", {"provider": "paypal"}),
    ("PATCH", "/api/payment-accounts/{id}", {"mode": "sandbox"}),
    ("PATCH", "/api/api-credentials/{id}", {"secret": "new"}),
    ("PATCH", "/api/api-credentials/{id}", {"provider": "other"}),
    ("DELETE", "/api/phone-systems/{id}", None),
    ("DELETE", "/api/payment-accounts/{id}", None),
    ("DELETE", "/api/api-credentials/{id}", None),
    ("PATCH", "/api/tenant", {"call_retention_days": 365}),
    ("POST", "/api/me/second-factor", None),
    ("POST", "/api/me/second-factor/confirm", {"code": "x"}),  # 422, but only once it was fresh
    ("POST", "/api/me/recovery-codes", None),  # 409, but only once it was fresh
    ("DELETE", "/api/me/second-factor", None),
    ("POST", "/api/api-keys", {"name": "Wallboard", "role": "member"}),
    ("DELETE", "/api/api-keys/{id}", None),
    ("POST", "/api/invitations", {"email": "dora@acme.example", "role": "admin"}),
    ("DELETE", "/api/invitations/{id}", None),
    ("PATCH", "/api/members/{id}", {"role": "admin"}),
    ("DELETE", "/api/members/{id}", None),
    ("POST", "/api/me/email", {"email": "ada@acme.example"}),
    ("POST", "/api/me/password", {"current_password": PASSWORD, "password": "a staple that is not correct"}),
]
HARMLESS = [
    ("PATCH", "/api/phone-systems/{id}", {"name": "New", "username": "api"}),
    ("PATCH", "/api/payment-accounts/{id}", {"client_id": "BZ"}),
    ("PATCH", "/api/api-credentials/{id}", {"expires_at": "2030-01-31T12:00:00Z"}),
    ("PATCH", "/api/tenant", {"name": "Acme Group"}),
    ("POST", "/api/phone-systems", {"name": "PBX", "vendor": "asterisk", "password": "s3cret"}),
]


def grow_stale(app):
    """Everybody signed in six minutes ago, and no mail is on its way."""
    wait_for_senders()
    with in_database(app):
        db.session.execute(update(UserSession).values(authenticated_at=now() - timedelta(minutes=6)))
        db.session.commit()


@pytest.fixture
def send(alice, bob):
    """Make a request of the lists above, about an object that Alice has."""
    made = {path: alice.client.post(path, json=body).json["id"] for path, body in INTEGRATIONS.items()}
    members = {member["email"]: member["id"] for member in alice.client.get("/api/members").json["items"]}
    made["/api/members"] = members[bob.email]
    invited = {"email": "ellen@acme.example", "role": "member"}
    made["/api/invitations"] = alice.client.post("/api/invitations", json=invited).json["id"]
    made["/api/api-keys"] = alice.client.post("/api/api-keys", json={"name": "Mine", "role": "admin"}).json["id"]

    def send(method, path, body):
        url = path.format(id=made.get(path.partition("/{id}")[0]))
        return alice.client.open(url, method=method, json=body)

    return send


def test_what_is_sensitive_needs_a_fresh_sign_in_and_changes_nothing_without(app, alice, send):
    grow_stale(app)
    before = contents(app)
    for request in SENSITIVE:
        refused = send(*request)
        assert refused.status_code == 401, request
        challenge = 'Bearer error="insufficient_user_authentication", max_age=300'  # RFC 9470, section 3
        assert refused.headers["WWW-Authenticate"] == challenge
        assert "/api/reauthenticate" in refused.json["detail"]
    assert contents(app) == before
    assert alice.client.post("/api/reauthenticate", json={"password": "wrong"}).status_code == 401
    assert send(*SENSITIVE[0]).status_code == 401
    assert alice.client.post("/api/reauthenticate", json={"password": PASSWORD}).status_code == 204
    for request in SENSITIVE:
        assert send(*request).status_code in (200, 201, 202, 204, 409, 422), request


def test_what_is_not_needs_none(app, send):
    grow_stale(app)
    assert [send(*request).status_code for request in HARMLESS] == [200, 200, 200, 200, 201]


def test_a_session_of_an_older_release_is_not_fresh(app, send):
    with in_database(app):
        db.session.execute(update(UserSession).values(authenticated_at=None))
        db.session.commit()
    assert send(*SENSITIVE[0]).status_code == 401


def test_the_description_says_which_they_are(client):
    described = {
        (method.upper(), path)
        for path, operations in client.get("/openapi.json").json["paths"].items()
        for method, operation in operations.items()
        if operation["responses"].get("401", {}).get("description") == access.NOT_FRESH
    }
    assert described == {(method, path) for method, path, _ in SENSITIVE}
