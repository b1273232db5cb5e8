"""A canary in every secret field appears nowhere but where it is used."""

import base64
import logging
from urllib.parse import quote

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


def test_the_bodies_have_every_secret_there_is():
    of_tenants = [column for column in inventory(db.metadata) if column.owner is not None]  # mail: see tests/mail
    secrets = {column.storage.name.removesuffix("_encrypted") for column in of_tenants}
    assert secrets == {name for body in BODIES.values() for name, value in body.items() if value == CANARY}


@pytest.fixture
def everything_logged(app, caplog):
    caplog.set_level(logging.DEBUG)
    with app.app_context():
        db.engine.echo = "debug"
    for name in ("sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool", "psycopg", "app", "flask-limiter"):
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


def test_the_database_holds_no_canary(app, alice, request, tmp_path, database_url):
    for url, body in BODIES.items():
        location = alice.client.post(url, json=body).headers["Location"]
        assert alice.client.patch(location, json=body).status_code == 200
    if database_url.startswith("sqlite"):
        files = list(tmp_path.glob("audiapro.db*"))
        raw = b"".join(file.read_bytes() for file in files)
        assert {file.name for file in files} == {"audiapro.db", "audiapro.db-wal", "audiapro.db-shm"}
    else:
        raw = request.getfixturevalue("postgres").pg_dump(database_url.rpartition("/")[2]).encode()
    assert b"pbx.acme.example" in raw
    assert b"v1:" in raw
    assert not holds_canary(raw.decode("utf-8", "replace"))


def test_pending_secrets_do_not_show_in_representations():
    assert not holds_canary(repr(PhoneSystemIn(**BODIES["/api/phone-systems"])))
