import base64
import json
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import update

from app.extensions import db
from app.identity import tokens
from app.identity.models import Membership, UserSession
from tests.conftest import PASSWORD, in_database, running

DROPPED = "(dropped)"


def me(client, token):
    return client.get("/api/me", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def keys(app):
    return app.extensions["signing_keys"]


@pytest.fixture
def access(app, alice):
    with in_database(app):
        return tokens.access_token(alice.subject)


def refresh_token_of(app, person, expires=timedelta(days=1)):
    with in_database(app):
        token_id = db.session.get_one(UserSession, person.session_id).refresh_id
        return tokens.refresh_token(person.subject, token_id, expires)


@pytest.fixture
def refresh(app, alice):
    return refresh_token_of(app, alice)


def forged(keys, token, key=None, algorithm="HS256", header=None, **claims):
    """The token with other claims and header fields, signed under our own key unless another is given."""
    claims = jwt.decode(token, options={"verify_signature": False}) | claims
    claims = {name: value for name, value in claims.items() if value is not DROPPED}
    header = {"kid": keys.current_id} | (header or {})
    header = {name: value for name, value in header.items() if value is not DROPPED}
    # not jwt.encode(), which makes no token with a claim of the wrong type
    payload = json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, key or keys.signing_key("access"), algorithm, headers=header)


def test_a_forged_token_that_is_changed_in_nothing_is_accepted(client, keys, access):
    assert me(client, forged(keys, access)).status_code == 200


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "jti", "type", "sub", "iss", "aud", "tenant", "sid"])
def test_every_claim_is_required_and_checked(client, keys, access, claim):
    values = [DROPPED, None, [], {}, "", "other"]
    accepted = [value for value in values if me(client, forged(keys, access, **{claim: value})).status_code != 401]
    assert accepted == []


@pytest.mark.parametrize("claims", [{"exp": 1}, {"nbf": 4102444800}, {"iat": 4102444800}, {"exp": 1e999}], ids=str)
def test_times_are_checked(client, keys, access, claims):
    assert me(client, forged(keys, access, **claims)).status_code == 401


def test_an_audience_among_others_is_enough_but_another_alone_is_not(client, keys, access):
    assert me(client, forged(keys, access, aud=["x", tokens.AUDIENCE])).status_code == 200
    assert me(client, forged(keys, access, aud=["x"])).status_code == 401


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "", "hs256", "RS256", "ES256", "HS512", None, 1], ids=str
)
def test_no_other_algorithm_is_accepted(client, keys, access, algorithm):
    _, payload, signature = access.split(".")
    header = part({"alg": algorithm, "typ": "JWT", "kid": keys.current_id})
    assert me(client, f"{header}.{payload}.{signature}").status_code == 401
    assert me(client, f"{header}.{payload}.").status_code == 401


def test_a_key_in_the_token_itself_is_not_used(client, keys, access):
    private = rsa.generate_private_key(65537, 2048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    for header in ({"jwk": jwk}, {"jku": "https://evil.example/keys.json"}, {"x5u": "https://evil.example/cert.pem"}):
        assert me(client, forged(keys, access, private, "RS256", header)).status_code == 401
        assert me(client, forged(keys, access, b"x" * 32, "HS256", header)).status_code == 401


def test_another_key_id_is_not_accepted(client, keys, access):
    for kid in ("00000000", "", "../../dev/null", "' OR 1=1", DROPPED):
        assert me(client, forged(keys, access, header={"kid": kid})).status_code == 401
    _, payload, signature = access.split(".")
    for kid in (None, 0, [], {}, ["a"]):
        header = part({"alg": "HS256", "typ": "JWT", "kid": kid})
        assert me(client, f"{header}.{payload}.{signature}").status_code == 401


def test_what_is_no_token_is_not_accepted(client):
    for text in ("", "Bearer", "a.b.c", "....", "é.é.é", "a b", ", ,", f"{part('[' * 9)}..", "\t", "x" * 6000):
        for header in (text, f"Bearer {text}", f"Bearer {text}, Bearer {text}", f"Basic {text}"):
            answer = client.get("/api/me", headers={"Authorization": header})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("nested", [0, 1], ids=["header", "payload"])
def test_a_token_nested_without_end_is_not_accepted(client, access, nested):
    parts = access.split(".")
    parts[nested] = base64.urlsafe_b64encode(b"[" * 5000).decode()
    assert me(client, ".".join(parts)).status_code == 401


def test_flipping_any_bit_of_the_signature_is_noticed(client, access):
    head, _, signature = access.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    for position in range(0, len(raw) * 8, 5):
        flipped = bytearray(raw)
        flipped[position // 8] ^= 1 << position % 8
        text = base64.urlsafe_b64encode(flipped).decode().rstrip("=")
        assert me(client, f"{head}.{text}").status_code == 401


def test_a_refresh_token_is_no_access_token(client, keys, refresh):
    assert me(client, refresh).status_code == 401
    assert me(client, forged(keys, refresh, keys.signing_key("refresh"), type="access")).status_code == 401
    assert me(client, forged(keys, refresh, keys.signing_key("access"))).status_code == 401


def test_an_access_token_is_no_refresh_token(client, keys, access):
    for token in (access, forged(keys, access, type="refresh")):
        assert client.post("/api/refresh", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_refresh_token_gives_a_new_access_token(client, access, refresh):
    answer = client.post("/api/refresh", headers={"Authorization": f"Bearer {refresh}"})
    assert answer.status_code == 200
    assert answer.json.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert answer.json["access_token"] != access
    assert me(client, answer.json["access_token"]).status_code == 200


def test_a_token_works_nowhere_but_in_the_header(client, access):
    client.set_cookie("access_token_cookie", access)
    assert client.get("/api/me", query_string={"jwt": access}).status_code == 401


def test_the_two_keys_are_neither_the_secret_nor_each_other(settings, keys):
    derived = {keys.signing_key("access"), keys.signing_key("refresh")}
    assert len(derived) == 2
    assert settings.jwt_secret_key.encode() not in derived
    assert settings.jwt_secret_key not in repr(vars(keys)) + repr(keys)


def test_the_session_key_of_flask_is_derived(app, settings, keys):
    session_key = app.config["SECRET_KEY"]
    assert session_key not in (settings.jwt_secret_key.encode(), *keys._keys.values())
    assert tokens.derive_key(settings.jwt_secret_key, "audiapro/flask-session") == session_key


def test_a_token_signed_under_a_fallback_is_accepted_until_the_fallback_goes(settings, alice, access, refresh):
    rotated = replace(settings, jwt_secret_key="n" * 20 + settings.jwt_secret_key)
    for fallbacks, status in (((settings.jwt_secret_key,), 200), ((), 401)):
        with running(replace(rotated, jwt_secret_key_fallbacks=fallbacks)) as app:
            app.extensions["encryption"].checked = True
            assert me(app.test_client(), access).status_code == status
            answer = app.test_client().post("/api/refresh", headers={"Authorization": f"Bearer {refresh}"})
            assert answer.status_code == status
            if status == 200:
                new, old = (jwt.get_unverified_header(token)["kid"] for token in (answer.json["access_token"], access))
                assert new == app.extensions["signing_keys"].current_id != old


def test_lifetimes_are_configured(settings, alice):
    lifetimes = {"access_token_expires": timedelta(seconds=77), "refresh_token_expires": timedelta(seconds=777)}
    with running(replace(settings, **lifetimes)) as app:
        app.extensions["encryption"].checked = True
        body = {"email": alice.email, "password": PASSWORD}
        answer = app.test_client().post("/api/login", json=body)
        assert answer.json["expires_in"] == 77
        for name, seconds in (("access_token", 77), ("refresh_token", 777)):
            claims = jwt.decode(answer.json[name], options={"verify_signature": False})
            assert seconds - 5 <= claims["exp"] - claims["iat"] <= seconds


def test_an_expired_token_says_so(settings, alice):
    with running(replace(settings, access_token_expires=timedelta(seconds=-1))) as app:
        app.extensions["encryption"].checked = True
        with in_database(app):
            token = tokens.access_token(alice.subject)
        answer = me(app.test_client(), token)
        assert answer.status_code == 401
        assert "expired" in answer.json["detail"]


def test_a_removed_member_is_out_at_once(app, client, bob):
    refresh = refresh_token_of(app, bob)
    with in_database(app):
        assert bob.client.get("/api/me").status_code == 200
        db.session.execute(Membership.__table__.delete().where(Membership.user_id == bob.user_id))
        db.session.commit()
    assert bob.client.get("/api/me").status_code == 401
    assert client.post("/api/refresh", headers={"Authorization": f"Bearer {refresh}"}).status_code == 401


def test_a_changed_role_counts_at_once(app, alice):
    assert alice.client.get("/api/phone-systems").status_code == 200
    with in_database(app):
        changed = update(Membership).where(Membership.user_id == alice.user_id).values(role="member")
        db.session.execute(changed)
        db.session.commit()
    assert alice.client.get("/api/phone-systems").status_code == 403


def test_a_token_for_a_tenant_that_the_user_does_not_belong_to_is_refused(app, client, alice, charlie):
    with in_database(app):
        token = tokens.access_token(tokens.Subject(alice.user_id, charlie.tenant_id, alice.session_id))
    assert me(client, token).status_code == 401


def test_a_token_with_another_ones_session_is_refused(app, client, alice, bob):
    with in_database(app):
        token = tokens.access_token(tokens.Subject(alice.user_id, alice.tenant_id, bob.session_id))
    assert me(client, token).status_code == 401
