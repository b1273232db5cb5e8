"""/metrics: who gets it, and what is counted by whoever serves."""

from contextlib import suppress

import psycopg
import pyotp
import pytest
from sqlalchemy import text

from app import database
from app.dashboard.steps import PREFIX
from app.database import POOL_SIZE
from app.encryption import EncryptionError
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity.models import Membership, Role
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook
from tests.conftest import PASSWORD, in_database, make_settings, running
from tests.dashboard.conftest import signed_in_visitor, visitor
from tests.status.scraped import scrape, scrape_counted, with_token

__all__ = ["visitor"]

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
def test_without_the_right_token_there_is_nothing_to_see(app, alice):
    token = app.config["METRICS_TOKEN"]
    wrong = [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
        f"Basic {token}",
        token,
        "Bearer \xff",
    ]
    for header in [*wrong, alice.client.environ_base["HTTP_AUTHORIZATION"]]:
        answer = app.test_client().get("/metrics", headers={"Authorization": header})
        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "audiapro_" not in answer.text
    assert app.test_client().get("/metrics", query_string={"token": token}).status_code == 401
    assert signed_in_visitor(app, alice).client.get("/metrics").status_code == 401
    assert app.test_client().get("/metrics", headers={"Authorization": f"bEARER {token}"}).status_code == 200


@only_sqlite
def test_the_token_opens_nothing_else(app):
    client = with_token(app)
    assert {client.get(url).status_code for url in ("/api/me", "/api/calls", "/api/audit-events")} == {401}


def test_where_no_token_is_configured_there_is_nothing_at_all():
    with running(make_settings("sqlite://", metrics_token=None)) as app:
        app.extensions["encryption"].checked = True
        for method in ("GET", "POST", "OPTIONS"):
            answers = [app.test_client().open(path, method=method) for path in ("/metrics", "/nothing")]
            ours, unknown = ((it.status_code, it.json | {"request_id": ""}, [*it.headers]) for it in answers)
            assert ours == unknown
            assert ours[0] == 404


@only_sqlite
def test_it_is_not_to_be_kept_and_not_described_to_everybody(app, client):
    assert with_token(app).get("/metrics").headers["Cache-Control"] == "no-store"
    assert "/metrics" not in client.get("/openapi.json").text


@only_sqlite
def test_requests_are_counted_by_the_rule_of_their_route(app, client, alice):
    client.get("/healthz?canary=1")
    for path in ("/api/calls/00000000-0000-0000-0000-000000000001", "/api/calls/00000000-0000-0000-0000-000000000002"):
        alice.client.get(path)
    for path in ("/canary-1", "/canary-2/x"):
        client.get(path)
    client.open("/healthz", method="CANARY")
    client.post("/healthz")
    found = scrape(app)
    assert found.all("http_requests_total", "route", "method", "status") == {
        ("/healthz", "GET", "200"): 1,
        ("/api/calls/<uuid:id>", "GET", "404"): 2,
        ("none", "GET", "404"): 2,
        ("none", "other", "405"): 1,
        ("none", "POST", "405"): 1,
    }
    assert found.value("http_request_duration_seconds_count", route="/api/calls/<uuid:id>", method="GET") == 2
    assert "canary" not in found.text.lower()


def sign_in(app, email, password=PASSWORD, address="192.0.2.1", **more):
    body = {"email": email, "password": password, **more}
    return app.test_client().post("/api/login", json=body, environ_overrides={"REMOTE_ADDR": address}).status_code


@only_sqlite
def test_what_becomes_of_those_who_want_to_sign_in_is_counted(app, alice, bob, visitor):
    secret = bob.client.post("/api/me/second-factor").json["secret"]
    bob.client.post("/api/me/second-factor/confirm", json={"code": pyotp.TOTP(secret).now()})
    with in_database(app):
        other = Tenant(name="Second", subdomain="second")
        db.session.add(Membership(user_id=alice.user_id, tenant=other, role=Role.MEMBER))
        db.session.commit()
    before = scrape(app).all("sign_ins_total", "outcome")
    sign_in(app, alice.email, tenant="acme")
    sign_in(app, alice.email)
    sign_in(app, alice.email, "wrong")
    sign_in(app, "nobody@acme.example")
    sign_in(app, bob.email)
    sign_in(app, bob.email, code="000000")
    alice.client.post("/api/reauthenticate", json={"password": PASSWORD})
    page = visitor.open("/sign-in")
    visitor.send(page, "Sign in", 401, **{PREFIX + "email": bob.email, PREFIX + "password": "wrong"})
    after = scrape(app).all("sign_ins_total", "outcome")
    assert {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name)} == {
        "signed_in": 1,
        "tenant_needed": 1,
        "wrong_password": 3,
        "no_code": 1,
        "wrong_code": 1,
        "proved_again": 1,
    }


@only_sqlite
def test_limits_that_are_met_are_counted(app):
    statuses = [sign_in(app, "nobody@acme.example", address=f"192.0.2.{number}") for number in range(21)]
    statuses += [sign_in(app, f"nobody{number}@acme.example", address="198.51.100.1") for number in range(11)]
    found = scrape(app)
    assert statuses.count(429) == 2
    assert found.value("sign_ins_total", outcome="locked_out") == 1
    assert found.all("limits_exceeded_total", "limit") == {"SIGN_IN": 1}


def test_deliveries_are_counted_by_kind_of_phone_system_and_what_became_of_them(app, alice):
    hook = make_hook(app, alice)
    hook.deliver()
    hook.deliver()
    hook.deliver(b"canary")
    hook.deliver(content_type="text/plain")
    hook.deliver(credentials=("", "wrong"))
    hook.deliver(credentials=None)
    assert scrape(app).all("deliveries_total", "vendor", "outcome") == {
        ("asterisk", "accepted"): 1,
        ("asterisk", "duplicate"): 1,
        ("asterisk", "unreadable"): 2,
        ("unknown", "refused"): 2,
    }


@only_sqlite
def test_decryptions_are_counted_by_column_and_outcome(app, alice):
    ids = [
        alice.client.post("/api/phone-systems", json={"name": f"PBX {n}", "vendor": "asterisk", "password": "p"}).json
        for n in range(2)
    ]
    other = MasterKey(bytes(range(32)))
    encryption = app.extensions["encryption"]

    def read():
        with in_database(app):
            for one in db.session.query(PhoneSystem).order_by(PhoneSystem.id):
                with suppress(EncryptionError):
                    assert one.password == "p"

    before = scrape(app).all("decryptions_total", "column", "outcome")
    read()
    with in_database(app):
        moved = text(
            "UPDATE phone_systems SET password_encrypted = (SELECT password_encrypted FROM phone_systems WHERE id = :a)"
            " WHERE id = :b"
        )
        db.session.execute(moved, {"a": ids[0]["id"].replace("-", ""), "b": ids[1]["id"].replace("-", "")})
        db.session.commit()
    read()
    encryption.keyring = Keyring(other)
    read()
    found = scrape(app).all("decryptions_total", "column", "outcome")
    assert {key: count - before.get(key, 0) for key, count in found.items() if count != before.get(key)} == {
        ("phone_systems.password", "opened"): 3,
        ("phone_systems.password", "does_not_open"): 1,
        ("phone_systems.password", "unknown_key"): 2,
    }


@only_sqlite
def test_what_is_known_beforehand_begins_with_0(app):
    found = scrape(app)
    assert found.value("decryptions_total", column="users.totp_secret", outcome="does_not_open") == 0
    assert found.value("deliveries_total", vendor="grandstream", outcome="accepted") == 0
    assert found.value("sign_ins_total", outcome="locked_out") == 0
    assert found.value("audit_events_total", action="session.replayed", outcome="refused") == 0


def test_events_of_the_audit_trail_are_counted_once_they_are_stored(app, alice):
    before = scrape(app)
    alice.client.post("/api/payment-accounts", json={"provider": "paypal", "mode": "live"})
    alice.client.post("/api/payment-accounts", json={"provider": "nobody", "mode": "live"})
    created = {"action": "payment_account.created", "outcome": "success"}
    assert scrape(app).value("audit_events_total", **created) - before.value("audit_events_total", **created) == 1


def test_connections_in_use_are_counted_and_given_back(app):
    with app.app_context():
        assert scrape_counted(app).value("database_pool_in_use") == 0
        with db.engine.connect(), db.engine.connect():
            busy = scrape(app)
        assert busy.value("database_pool_in_use") == 2
        limit = {"sqlite": 15, "postgresql": POOL_SIZE}[db.engine.dialect.name]
        assert busy.value("database_pool_limit") == limit
        assert busy.value("database_pool_fullest_ratio") == 2 / limit
        idle = scrape(app)
        assert idle.value("database_pool_in_use") == idle.value("database_pool_fullest_ratio") == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_died_is_not_counted_for_ever(app, database_url, monkeypatch):
    monkeypatch.setattr(database, "PAUSE_SECONDS", -1)  # each is asked whether it still works
    with app.app_context():
        with db.engine.connect() as connection:
            backend = connection.connection.driver_connection.info.backend_pid
        with psycopg.connect(database_url.replace("+psycopg", "")) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [backend])
        with db.engine.connect() as connection:
            assert connection.connection.driver_connection.info.backend_pid != backend
            connection.connection.driver_connection.close()
        assert scrape(app).value("database_pool_in_use") == 0
