import time
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import jwt
import pytest
from sqlalchemy import select, update

from app.errors import Invalid
from app.extensions import db
from app.identity import passwords
from app.identity.models import Membership, Role, User, UserSession
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database, running
from tests.servers import TcpProxy


def sign_in(client, email, password=PASSWORD, address="192.0.2.1", **more):
    body = {"email": email, "password": password, **more}
    return client.post("/api/login", json=body, environ_overrides={"REMOTE_ADDR": address})


def test_signing_in_gives_both_tokens(client, alice):
    answer = sign_in(client, alice.email)
    assert answer.status_code == 200
    assert answer.json.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 900)
    me = client.get("/api/me", headers={"Authorization": f"Bearer {answer.json['access_token']}"})
    shown = me.json
    assert UUID(shown.pop("membership_id"))
    assert shown == {
        "user": {"id": str(alice.user_id), "email": "alice@acme.example"},
        "tenant": {"id": str(alice.tenant_id), "name": "Acme", "subdomain": "acme", "time_zone": "UTC"},
        "role": "owner",
        "second_factor": False,
    }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_configured_lifetimes_are_those_of_the_tokens(settings, app, alice):
    changes = {"access_token_expires": timedelta(seconds=61), "refresh_token_expires": timedelta(seconds=3601)}
    with running(replace(settings, **changes)) as other:
        answer = sign_in(other.test_client(), alice.email)
    assert answer.json["expires_in"] == 61
    for name, seconds in (("access_token", 61), ("refresh_token", 3601)):
        claims = jwt.decode(answer.json[name], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == seconds


@pytest.mark.parametrize("email", ["ALICE@ACME.EXAMPLE", "  alice@Acme.example "])
def test_an_email_address_may_be_typed_in_capitals(client, alice, email):
    assert sign_in(client, email).status_code == 200


def test_every_refusal_has_the_same_body(client, app, alice, password_hash):
    with in_database(app):
        db.session.add(User(email="nobody@acme.example", password_hash=password_hash))
        db.session.commit()
    answers = [
        sign_in(client, "unknown@acme.example"),
        sign_in(client, "not an address"),
        sign_in(client, alice.email, "wrong password"),
        sign_in(client, alice.email, tenant="others"),
        sign_in(client, alice.email, tenant="unknown"),
        sign_in(client, "nobody@acme.example"),
    ]
    assert [answer.status_code for answer in answers] == [401] * 6
    assert len({tuple(sorted((answer.json | {"request_id": ""}).items())) for answer in answers}) == 1


@pytest.mark.usefixtures("recommended_cost")
def test_an_unknown_account_costs_one_verification_too(client, alice, monkeypatch):
    verified = []

    class Hasher(passwords.PasswordHasher):
        def verify(self, stored, password):
            verified.append(stored)
            return super().verify(stored, password)

    monkeypatch.setattr(passwords, "_hasher", Hasher())
    sign_in(client, "unknown@acme.example")
    sign_in(client, alice.email, "wrong password")
    assert len(verified) == 2
    unknown, known = (stored.split("$")[:4] for stored in verified)
    assert unknown == known


@pytest.mark.usefixtures("recommended_cost")
def test_the_hash_that_unknown_accounts_are_verified_with_costs_what_new_ones_do():
    assert not passwords.is_outdated(passwords._NOBODY)


def test_the_database_is_free_while_a_password_is_verified(client, app, alice, monkeypatch):
    verify = passwords.verify_password

    def verify_while_somebody_writes(stored, password):
        with app.app_context(), db.engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            connection.execute(User.__table__.update().values(email=User.email))
        return verify(stored, password)

    monkeypatch.setattr("app.identity.authentication.verify_password", verify_while_somebody_writes)
    assert sign_in(client, alice.email).status_code == 200


@pytest.mark.parametrize("path", ["/api/login", "/api/reauthenticate"])
@pytest.mark.parametrize("change", ["password", "disabled", "signed out everywhere", "second factor"])
def test_who_signs_in_is_refused_where_the_account_changes_while_the_password_is_verified(
    client, app, alice, password_hash, monkeypatch, path, change
):
    values = {
        "password": {"password_hash": password_hash[:-2]},
        "disabled": {"disabled_at": User.created_at},
        "signed out everywhere": {"signed_out_at": User.created_at},
    }

    def change_meanwhile(stored, password):
        with in_database(app):
            changed = values.get(change, {"totp_confirmed_at": User.created_at})
            db.session.execute(update(User).where(User.id == alice.user_id).values(changed))
            db.session.commit()
        return True

    monkeypatch.setattr("app.identity.authentication.verify_password", change_meanwhile)
    body = {"password": PASSWORD} | ({"email": alice.email} if path == "/api/login" else {})
    refused = alice.client.post(path, json=body)
    assert refused.status_code == 401
    assert ("errors" in refused.json) == (change == "second factor")
    with in_database(app):
        assert db.session.query(UserSession).filter_by(tenant_id=alice.tenant_id).count() == 2, "Alice's and Bob's"


def test_a_user_of_several_tenants_names_one(client, app, alice):
    with in_database(app):
        others = db.session.scalars(select(Tenant).where(Tenant.subdomain == "others")).one()
        db.session.add(Membership(user_id=alice.user_id, tenant=others, role=Role.MEMBER))
        db.session.commit()
    unsure = sign_in(client, alice.email)
    assert unsure.status_code == 422
    assert [error["field"] for error in unsure.json["errors"]] == ["tenant"]
    assert sign_in(client, alice.email, "wrong password").status_code == 401
    answer = sign_in(client, alice.email, tenant="others")
    me = client.get("/api/me", headers={"Authorization": f"Bearer {answer.json['access_token']}"})
    assert (me.json["tenant"]["subdomain"], me.json["role"]) == ("others", "member")


@pytest.mark.usefixtures("recommended_cost")
def test_a_hash_made_at_another_cost_is_renewed(client, app, alice):
    cheap = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with in_database(app):
        db.session.execute(User.__table__.update().where(User.id == alice.user_id).values(password_hash=cheap))
        db.session.commit()
    assert sign_in(client, alice.email).status_code == 200
    with in_database(app):
        assert not passwords.is_outdated(db.session.get(User, alice.user_id).password_hash)
    assert sign_in(client, alice.email).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"email": "alice@acme.example"},
        {"email": "alice@acme.example", "password": ""},
        {"email": "alice@acme.example", "password": "x" * 1025},
        {"email": "alice\0@acme.example", "password": PASSWORD},
        {"email": ["alice@acme.example"], "password": PASSWORD},
        {"email": "alice@acme.example", "password": PASSWORD, "tenant": "ac\0me"},
        {"email": "alice@acme.example", "password": PASSWORD, "remember": True},
    ],
)
def test_what_cannot_be_credentials_is_invalid(client, alice, body):
    assert client.post("/api/login", json=body).status_code == 422


@pytest.mark.parametrize("password", ["8 chars.", "x" * 1024, "nul\0nul\0nul", "пароль пароль", "🔑" * 8, "        "])
def test_any_text_of_8_to_1024_characters_is_a_password(password):
    assert passwords.verify_password(passwords.hash_password(password), password)


def test_a_password_counts_to_its_last_character():
    stored = passwords.hash_password("nul\0nul\0nul")
    assert not passwords.verify_password(stored, "nul\0nul\0nux")
    assert not passwords.verify_password(stored, "nul")


@pytest.mark.usefixtures("recommended_cost")
def test_a_composed_and_a_decomposed_accent_are_the_same():
    assert passwords.verify_password(passwords.hash_password("cafe\u0301 cafe\u0301"), "caf\u00e9 caf\u00e9")


@pytest.mark.parametrize("password", ["", "7 chars", "x" * 1025, "surrogate \ud800"])
def test_other_passwords_are_refused(password):
    with pytest.raises(Invalid):
        passwords.hash_password(password)


def test_a_damaged_hash_lets_nobody_in():
    assert not passwords.verify_password("$argon2id$damaged", PASSWORD)


@pytest.fixture
def quick_verification(monkeypatch):
    """For tests of many attempts."""
    monkeypatch.setattr("app.identity.authentication.verify_password", lambda stored, password: password == PASSWORD)


@pytest.mark.usefixtures("quick_verification")
def test_an_address_may_try_ten_times_a_minute(client, alice):
    answers = [sign_in(client, f"{number}@acme.example", "wrong password") for number in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].content_type == "application/problem+json"
    assert sign_in(client, alice.email).status_code == 429
    assert sign_in(client, alice.email, address="192.0.2.2").status_code == 200


def fail_from_many_addresses(client, email, times):
    return [sign_in(client, email, "wrong", f"198.51.100.{number}") for number in range(times)]


@pytest.mark.usefixtures("quick_verification")
def test_guesses_at_one_account_are_limited_wherever_they_come_from(client, alice):
    answers = fail_from_many_addresses(client, alice.email, 20)
    answers += [sign_in(client, email, address="203.0.113.1") for email in (alice.email, alice.email.upper())]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 3600


@pytest.mark.usefixtures("quick_verification")
def test_guesses_do_not_lock_the_owner_out_of_where_she_signed_in_before(client, alice):
    assert sign_in(client, alice.email).status_code == 200
    assert fail_from_many_addresses(client, alice.email, 21)[-1].status_code == 429
    assert sign_in(client, alice.email).status_code == 200


@pytest.mark.usefixtures("quick_verification")
def test_success_makes_failures_forgotten(client, alice):
    assert {answer.status_code for answer in fail_from_many_addresses(client, alice.email, 19)} == {401}
    assert sign_in(client, alice.email, address="203.0.113.1").status_code == 200
    assert {answer.status_code for answer in fail_from_many_addresses(client, alice.email, 20)} == {401}


@pytest.fixture
def proxied(settings, redis_url):
    """A way to Redis that can be cut, and the settings that lead through it."""
    with TcpProxy(redis_url) as proxy:
        yield proxy, replace(settings, redis_url=proxy.url)


def test_nobody_signs_in_while_redis_is_down(proxied, alice):
    proxy, settings = proxied
    with running(settings) as app:
        app.extensions["encryption"].checked = True
        client = app.test_client()
        assert sign_in(client, alice.email, address="192.0.2.77").status_code == 200
        proxy.refuse()
        proxy.cut()
        begin = time.monotonic()
        answer = sign_in(client, alice.email, address="192.0.2.77")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert time.monotonic() - begin < 5
        proxy.accept()
        assert sign_in(client, alice.email, address="192.0.2.77").status_code == 200
