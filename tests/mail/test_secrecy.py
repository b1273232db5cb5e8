"""A one-time link and the provider's key appear nowhere but where they are used."""

import json
import logging
import traceback
from datetime import timedelta

import pytest
import requests

from app.database import now
from app.extensions import db
from app.mail import service
from app.mail.delivery import NotSent
from app.mail.resend import Resend
from tests.mail.conftest import TO, TOKEN, reset
from tests.mail.provider import API_KEY, error


@pytest.fixture
def everything_logged(app, caplog):
    caplog.set_level(logging.DEBUG)
    with app.app_context():
        db.engine.echo = "debug"
    for name in ("sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool", "psycopg", "app", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


@pytest.mark.parametrize(
    "answer",
    [
        None,
        error(422, "validation_error", f"No mail to `{TO}`: https://audiapro.example/reset-password#{TOKEN} {API_KEY}"),
        error(500, f"{TOKEN}\nERROR forged", f"<p>{TOKEN}</p> {TO}\n{TOKEN[:30]}"),
        (500, f"<html>{TOKEN} {TO}</html>"),
    ],
)
def test_no_link_key_or_address_is_logged_or_shown(app, queue, stored, provider, everything_logged, capfd, answer):
    provider.planned = [answer] if answer else []
    queue()
    shown = app.test_cli_runner().invoke(args=["mail", "status"]).output
    shown += app.test_cli_runner().invoke(args=["mail", "status", "--json"]).output
    (mail,) = stored()
    assert len(provider.asked) == 1
    assert "INSERT INTO mails" in everything_logged.text
    assert "/emails" in everything_logged.text
    said = everything_logged.text + "".join(capfd.readouterr())
    for secret in (TOKEN, TOKEN[:30], API_KEY, TO):
        assert secret not in said
    for secret in (TOKEN, TOKEN[:30], TO):
        assert secret not in shown + (mail.reason or "")
    assert "\nERROR forged" not in said


def test_the_reason_keeps_what_the_operator_needs(queue, stored, provider):
    provider.planned = [
        error(403, "validation_error", "The mail.example domain is not verified, says no-reply@mail.example")
    ]
    queue()
    (mail,) = stored()
    assert mail.reason.endswith("The mail.example domain is not verified, says no-reply@mail.example")


@pytest.mark.parametrize("sent", [False, True])
def test_the_database_holds_no_link_and_no_address(
    app, later, queue, send_due, stored, database_url, tmp_path, request, sent
):
    queue()
    if sent:
        assert send_due() == {"sent": 1}
    with app.app_context():
        db.engine.dispose()
    if database_url.startswith("sqlite"):
        raw = b"".join(path.read_bytes() for path in tmp_path.glob("audiapro.db*")).decode("utf-8", "replace")
    else:
        raw = request.getfixturevalue("postgres").pg_dump(database_url.rpartition("/")[2])
    assert "reset_password" in raw
    for secret in (TOKEN, TO, API_KEY, "audiapro.example"):
        assert secret not in raw


def test_no_error_shows_the_mail_or_the_key(provider, monkeypatch):
    content = {"from": "a@mail.example", "to": TO, "subject": "Hello", "text": TOKEN, "html": TOKEN}
    monkeypatch.setattr("resend.api_url", "http://127.0.0.1:1")
    with pytest.raises(NotSent) as failure:
        Resend(API_KEY).send("a key", content)
    shown = "".join(traceback.format_exception(failure.value)) + repr(failure.value) + repr(vars(failure.value))
    for secret in (TOKEN, TO, API_KEY):
        assert secret not in shown


def test_a_netrc_file_does_not_replace_the_key(queue, provider, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(provider.url) == ("eve", "hunter2")
    queue()
    ((headers, _),) = provider.asked
    assert headers["Authorization"] == f"Bearer {API_KEY}"


def test_the_host_of_a_request_is_not_in_a_link(app, provider, later, send_due):
    with app.test_request_context(
        "/", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"}, method="POST"
    ):
        service.queue(db.session(), TO, reset(expires_at=now() + timedelta(hours=1)))
        db.session.commit()
    assert send_due() == {"sent": 1}
    assert "evil.example" not in json.dumps(provider.mails)
