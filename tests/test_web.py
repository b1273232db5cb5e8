import threading
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask import request
from sqlalchemy import NullPool, create_engine, delete, select

from app.config import Settings
from app.encryption.keyring import Keyring, MasterKey
from app.errors import Forbidden
from app.extensions import db
from app.tenants.models import Tenant
from tests.conftest import in_database, make_settings, migrate, running

EXPECTED = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("refused", [False, True])
def test_what_is_read_ends_with_a_commit_that_stores_nothing_by_mistake(app, alice, monkeypatch, refused):
    def add_by_mistake(*args):
        db.session.add(Tenant(name="By mistake", subdomain="mistake"))
        if refused:
            db.session.flush()
            raise Forbidden("No.")
        return [], None

    monkeypatch.setattr("app.payments.service.payment_accounts.list_page", add_by_mistake)
    assert alice.client.get("/api/payment-accounts").status_code == (403 if refused else 200)
    with in_database(app):
        assert db.session.scalars(select(Tenant.subdomain).order_by(Tenant.subdomain)).all() == ["acme", "others"]


def test_every_answer_has_the_headers(client, alice, monkeypatch):
    monkeypatch.setattr("app.payments.service.payment_accounts.list_page", lambda *args: 1 / 0)
    answers = [
        alice.client.get("/api/me"),
        alice.client.get("/api/payment-accounts"),
        client.get("/api/me"),
        client.get("/nowhere"),
        client.put("/api/login"),
        client.post("/api/login", data=b"x" * 2_000_000, content_type="application/json"),
        client.options("/api/login"),
        client.get("/openapi.json"),
    ]
    assert [answer.status_code for answer in answers] == [200, 500, 401, 404, 405, 413, 200, 200]
    for answer in answers:
        assert EXPECTED.items() <= dict(answer.headers).items()
        assert "Server" not in answer.headers


def test_answers_of_the_api_are_not_kept_by_caches(client, alice):
    for path in ("/api/me", "/api/nowhere", "/hooks/nowhere"):
        assert alice.client.get(path).headers["Cache-Control"] == "no-store"


def test_browsers_are_told_to_insist_on_tls_where_there_is_tls(settings, client):
    header = "Strict-Transport-Security"
    assert header not in client.get("/nowhere").headers
    assert client.get("/nowhere", base_url="https://localhost").headers[header].startswith("max-age=31536000")
    with running(replace(settings, environment="production")) as app:
        assert header in app.test_client().get("/nowhere").headers
        assert not app.debug


def test_no_origin_is_allowed_to_read_answers(alice):
    answer = alice.client.get("/api/me", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_database_that_is_migrated_later_is_picked_up(tmp_path):
    with running(make_settings(f"sqlite:///{tmp_path / 'empty.db'}")) as app:
        client = app.test_client()
        for _ in range(2):
            answer = client.get("/api/me")
            assert answer.status_code == 503
            assert "flask db upgrade" in answer.json["detail"]
            assert answer.headers["Retry-After"]
        migrate(f"sqlite:///{tmp_path / 'empty.db'}")
        assert client.get("/api/me").status_code == 401
        assert app.extensions["encryption"].checked


def test_nothing_is_served_while_the_keys_do_not_fit_the_database(app, settings, caplog):
    other = Keyring(MasterKey(b"\1" * 32))
    with running(replace(settings, keyring=other)) as stranger:
        answer = stranger.test_client().get("/api/me")
        assert answer.status_code == 503
        assert settings.keyring.primary.id in caplog.text
        assert settings.keyring.primary.id not in answer.text
        with in_database(app):
            registry = app.extensions["encryption"].registry
            db.session.execute(delete(registry.keys))
            db.session.commit()
        assert stranger.test_client().get("/api/me").status_code == 401


def test_nothing_is_served_while_the_database_is_not_there(tmp_path):
    (tmp_path / "no").touch()
    with running(make_settings(f"sqlite:///{tmp_path / 'no' / 'folder.db'}")) as app:
        answer = app.test_client().get("/api/me")
        assert answer.status_code == 503
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_check_is_made_once_however_many_requests_wait_for_it(settings, monkeypatch):
    with running(settings) as app:
        encryption = app.extensions["encryption"]
        made, check = [], encryption.check_and_register

        def slow_check(engine):
            made.append(1)
            threading.Event().wait(0.1)
            check(engine)

        monkeypatch.setattr(encryption, "check_and_register", slow_check)
        answers: list[int] = []

        def ask():
            answers.append(app.test_client().get("/api/me").status_code)

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (answers, made) == ([401] * 5, [1])


class SlowBody:
    """A body that looks, while it is being sent, whether somebody else could write to the database."""

    def __init__(self, content: bytes, database_url: str) -> None:
        self.content = BytesIO(content)
        self.database_url = database_url
        self.looked = False

    def read(self, size: int = -1) -> bytes:
        engine = create_engine(self.database_url, poolclass=NullPool)
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA busy_timeout = 0")
                connection.exec_driver_sql("DELETE FROM calls")
            else:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                waiting += " AND state LIKE 'idle in transaction%%'"
                assert connection.exec_driver_sql(waiting).scalar_one() == 0
        self.looked = True
        return self.content.read(size)


@pytest.mark.parametrize("what", ["a delivery", "a phone system"])
def test_no_transaction_waits_for_a_body_that_arrives_slowly(app, alice, database_url, what):
    created = alice.client.post("/api/phone-systems", json={"name": "PBX", "vendor": "asterisk"}).json
    content = b"x=1" if what == "a delivery" else b'{"name": "Other", "vendor": "asterisk"}'
    body = SlowBody(content, database_url)
    sent = {"environ_overrides": {"wsgi.input": body, "CONTENT_LENGTH": str(len(content))}}
    if what == "a delivery":
        credentials = created["webhook_username"], created["webhook_password"]
        form = "application/x-www-form-urlencoded"
        answer = app.test_client().post(created["webhook_path"], auth=credentials, content_type=form, **sent)
        assert answer.status_code == 422
    else:
        answer = alice.client.post("/api/phone-systems", content_type="application/json", **sent)
        assert answer.status_code == 201
    assert body.looked


def address_seen(settings: Settings, headers: dict[str, str], **changes: Any) -> str | None:
    seen: list[str | None] = []
    with running(replace(settings, **changes)) as app:
        app.before_request(lambda: seen.append(request.remote_addr))
        app.test_client().get("/healthz", headers=headers, environ_base={"REMOTE_ADDR": "10.0.0.1"})
    return seen[0]


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "10.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 192.0.2.2", "203.0.113.9"),
    ],
)
def test_only_as_many_proxies_are_believed_as_were_configured(
    settings: Settings, hops: int, forwarded: str, expected: str
) -> None:
    assert address_seen(settings, {"X-Forwarded-For": forwarded}, trusted_proxy_hops=hops) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"DO-Connecting-IP": "203.0.113.9"}, "203.0.113.9"),
        ({"DO-Connecting-IP": "203.0.113.9", "X-Forwarded-For": "198.51.100.1"}, "203.0.113.9"),
        ({"DO-Connecting-IP": "198.51.100.1, 203.0.113.9"}, "203.0.113.9"),
        ({"X-Forwarded-For": "198.51.100.1"}, "10.0.0.1"),
        ({"DO-Connecting-IP": ""}, "10.0.0.1"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_a_platform_gives_the_address_in_another_header_that_alone_is_believed(
    settings: Settings, headers: dict[str, str], expected: str
) -> None:
    changes = {"trusted_proxy_hops": 1, "client_address_header": "do-connecting-ip"}
    assert address_seen(settings, headers, **changes) == expected
