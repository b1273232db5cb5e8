"""A canary in every secret field appears nowhere but where it is used."""

import base64
import logging
from hashlib import sha256
from urllib.parse import quote

import pyotp
import pytest

from app.encryption import inventory
from app.extensions import db
from app.phone_systems.schemas import PhoneSystemIn
from tests.conftest import PASSWORD

CANARY = "canary-Ω-3f9d2c71"
BODIES = {
    "/api/phone-systems": {
        "name": "Headquarters",
        "vendor": "asterisk",
        "base_url": "https://pbx.acme.example",
        "password": CANARY,
        "webhook_password": CANARY,
    },
    "/api/payment-accounts": {"provider": "paypal", "mode": "live", "client_secret": CANARY},
    "/api/api-credentials": {"name": "Maps", "provider": "acme", "secret": CANARY},
}

CANARY_ENCODED = [
    CANARY,
    CANARY.encode("unicode_escape").decode(),
    CANARY.encode().hex(),
    quote(CANARY),
    *(base64.b64encode(b"x" * shift + CANARY.encode())[4 * bool(shift) : -4].decode() for shift in range(3)),
]


def holds_canary(text):
    return any(form.lower() in text.lower() for form in CANARY_ENCODED)


# Nobody chooses these, so that no request has them: what becomes of them is tested below.
MADE_BY_US = {"users.totp_secret", "users.recovery_code_hashes", "api_keys.token_hash"}
# Nor this, which is a webhook password until it is rotated.
MADE_BY_US |= {"phone_systems.previous_webhook_password"}
# Nor this, which phone systems deliver, and people may read: see tests/phone_systems/test_unreadable.py.
MADE_BY_US |= {"unreadable_deliveries.content"}


def test_the_bodies_have_every_secret_there_is():
    of_tenants = [column for column in inventory(db.metadata) if column.owner is not None]  # mail: see tests/mail
    assert {column.name for column in of_tenants} >= MADE_BY_US
    chosen = [column for column in of_tenants if column.name not in MADE_BY_US]
    secrets = {column.storage.name.removesuffix("_encrypted") for column in chosen}
    assert secrets == {name for body in BODIES.values() for name, value in body.items() if value == CANARY}


@pytest.fixture
def everything_logged(app, caplog):
    caplog.set_level(logging.DEBUG)
    with app.app_context():
        db.engine.echo = "debug"
    for name in ("sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool", "psycopg", "app", "limits", "redis", "jwt"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def test_a_canary_appears_in_no_answer_and_no_log(app, alice, bob, charlie, client, everything_logged, capfd):
    answers = []
    for url, body in BODIES.items():
        created = alice.client.post(url, json=body)
        assert created.status_code == 201
        location = created.headers["Location"]
        answers += [
            created,
            alice.client.get(location),
            alice.client.get(url),
            alice.client.patch(location, json=body),
            alice.client.patch(location, json={name: CANARY for name, value in body.items() if value == CANARY}),
        ]
        if url == "/api/phone-systems":
            for rotated in ({"password": CANARY}, {}, {"password": [CANARY]}, {"keep_previous_hours": CANARY}):
                answers.append(alice.client.post(f"{location}/webhook-password", json=rotated))
            answers.append(alice.client.patch(location, json={"webhook_password": CANARY}))
        for refused in (
            body | {"unknown": CANARY},
            body | {name: [CANARY] for name, value in body.items() if value == CANARY},
            body | {name: CANARY * 1000 for name, value in body.items() if value == CANARY},
            [CANARY],
        ):
            answers += [alice.client.post(url, json=refused), alice.client.patch(location, json=refused)]
        for stranger in (bob.client, charlie.client, client):
            answers += [stranger.post(url, json=body | {"name": "x" * 300}), stranger.patch(location, json=body)]
        answers.append(alice.client.post(url, data=f'{{"name": "{CANARY}', content_type="application/json"))
    for password in (CANARY, [CANARY], CANARY * 1000):
        answers.append(client.post("/api/login", json={"email": alice.email, "password": password}))
    assert {answer.status_code for answer in answers} == {200, 201, 400, 401, 403, 404, 422}
    for answer in answers:
        assert not holds_canary(answer.text + str(answer.headers)), answer.text
    assert "INSERT INTO phone_systems" in everything_logged.text
    assert not holds_canary(everything_logged.text)
    assert not holds_canary("".join(capfd.readouterr()))


def test_a_canary_appears_in_no_failure(app, alice, monkeypatch, everything_logged):
    for url, body in BODIES.items():
        location = alice.client.post(url, json=body).headers["Location"]

        def fail(*args, **kwargs):
            raise RuntimeError("the database is on fire")

        monkeypatch.setattr("sqlalchemy.orm.Session.commit", fail)
        answers = [alice.client.post(url, json=body), alice.client.patch(location, json=body)]
        monkeypatch.undo()
        assert [answer.status_code for answer in answers] == [500, 500]
        assert not any(holds_canary(answer.text) for answer in answers)
    assert "on fire" in everything_logged.text
    assert not holds_canary(everything_logged.text)


def test_a_password_to_sign_in_with_is_not_logged(client, alice, everything_logged):
    assert client.post("/api/login", json={"email": alice.email, "password": PASSWORD}).status_code == 200
    assert PASSWORD not in everything_logged.text
    assert "session.started" in everything_logged.text


def test_tokens_are_not_logged(client, alice, everything_logged):
    answer = client.post("/api/login", json={"email": alice.email, "password": PASSWORD})
    client.get("/api/me", headers={"Authorization": f"Bearer {answer.json['refresh_token']}"})
    assert "token refused" in everything_logged.text
    for name in ("access_token", "refresh_token"):
        assert answer.json[name].rpartition(".")[2] not in everything_logged.text


def test_what_we_make_is_in_no_log_and_not_in_the_database(app, alice, client, everything_logged, request, tmp_path):
    secret = alice.client.post("/api/me/second-factor").json["secret"]
    code = pyotp.TOTP(secret).now()
    confirmed = alice.client.post("/api/me/second-factor/confirm", json={"code": code}).json
    key = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "admin"}).json["key"]
    login = {"email": alice.email, "password": PASSWORD, "code": confirmed["recovery_codes"][0]}
    assert client.post("/api/login", json=login).status_code == 200
    assert client.get("/api/calls", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/api/calls", headers={"Authorization": f"Bearer {key[:-1]}"}).status_code == 401
    made = [secret, *confirmed["recovery_codes"], key.rpartition("_")[2]]
    stored = raw_database(app, request, tmp_path)
    for text in made:
        for hidden in (text, text.replace("-", ""), sha256(text.replace("-", "").encode()).hexdigest()):
            assert hidden not in everything_logged.text + stored
    assert sha256(key.encode()).hexdigest() not in everything_logged.text + stored
    assert alice.email in stored


def test_the_database_holds_no_canary(app, alice, request, tmp_path):
    for url, body in BODIES.items():
        location = alice.client.post(url, json=body).headers["Location"]
        assert alice.client.patch(location, json=body).status_code == 200
    raw = raw_database(app, request, tmp_path)
    assert "pbx.acme.example" in raw
    assert "v1:" in raw
    assert not holds_canary(raw)


def raw_database(app, request, tmp_path):
    """All that whoever has a copy of it has."""
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    if not url.startswith("sqlite"):
        return request.getfixturevalue("postgres").pg_dump(url.rpartition("/")[2])
    files = list(tmp_path.glob("audiapro.db*"))
    assert {file.name for file in files} == {"audiapro.db", "audiapro.db-wal", "audiapro.db-shm"}
    return b"".join(file.read_bytes() for file in files).decode("utf-8", "replace")


def test_pending_secrets_do_not_show_in_representations():
    assert not holds_canary(repr(PhoneSystemIn(**BODIES["/api/phone-systems"])))
