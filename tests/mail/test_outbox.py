"""From the commit to the provider, and what becomes of a mail that it does not take."""

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.database import now
from app.encryption.keyring import Keyring, MasterKey
from app.errors import Invalid, Unavailable
from app.extensions import db
from app.mail import resend, service
from app.mail.messages import NewApiKey, PasswordChanged
from app.startup import check_start
from tests.conftest import in_database, make_settings, running
from tests.mail.conftest import TO, TOKEN, make_due, reset, wait_for_senders
from tests.mail.provider import API_KEY, error
from tests.servers import TcpProxy


def only(found):
    (mail,) = found
    return mail


def test_a_mail_is_sent_right_after_the_commit(queue, stored, provider):
    queue()
    headers, body = only(provider.asked)
    mail = only(stored())
    assert (mail.state, mail.kind, mail.attempts, mail.reason) == ("sent", "reset_password", 1, None)
    assert (headers["Authorization"], headers["Idempotency-Key"]) == (f"Bearer {API_KEY}", str(mail.id))
    assert mail.provider_id == provider.accepted[str(mail.id)][1]
    assert (body["from"], body["to"]) == ("AudiaPro <no-reply@mail.example>", [TO])
    assert body["subject"] == "Set a new password"
    for form in ("text", "html"):
        assert f"https://audiapro.example/reset-password#{TOKEN}" in body[form]


def test_nothing_is_sent_before_the_commit_or_after_a_rollback(app, stored, provider):
    with app.app_context():
        service.queue(db.session(), TO, reset())
        wait_for_senders()
        assert provider.asked == []
        db.session.rollback()
        db.session.commit()
    wait_for_senders()
    assert (provider.asked, stored()) == ([], [])


def test_what_a_savepoint_takes_back_is_not_sent(app, stored, provider):
    with app.app_context():
        with db.session.begin_nested():
            service.queue(db.session(), TO, reset())
        wait_for_senders()
        assert provider.asked == []
        savepoint = db.session.begin_nested()
        service.queue(db.session(), "eve@acme.example", reset())
        savepoint.rollback()
        db.session.commit()
    wait_for_senders()
    assert only(provider.mails)["to"] == [TO]
    assert only(stored()).state == "sent"


def test_all_mails_of_a_transaction_are_sent(queue, stored, provider):
    queue(reset(), PasswordChanged(now()), NewApiKey("Acme", "Export", "ada@acme.example", now()))
    assert [mail.state for mail in stored()] == ["sent"] * 3
    assert len(provider.mails) == 3


def test_the_content_is_gone_once_the_mail_is_sent_and_the_database_keeps_it_so(app, queue, stored, provider):
    queue()
    mail = only(stored())
    with app.app_context():
        assert mail.content is None
        with pytest.raises(IntegrityError):
            db.session.execute(text("UPDATE mails SET content_encrypted = :value"), {"value": "v1:" + "x" * 200})


@pytest.mark.parametrize("state", ["sent", "refused", "given_up"])
def test_the_database_refuses_a_mail_that_is_over_and_still_has_its_content(app, later, queue, state):
    queue()
    with app.app_context(), pytest.raises(IntegrityError, match="content_removed"):
        db.session.execute(text("UPDATE mails SET state = :state"), {"state": state})


def test_a_commit_does_not_wait_for_a_provider_that_does_not_answer(app, stored, provider):
    answer = threading.Event()
    provider.before_answer = answer.wait
    with app.app_context():
        service.queue(db.session(), TO, reset())
        started = time.monotonic()
        db.session.commit()
        assert time.monotonic() - started < 1
    assert only(stored()).state == "queued"
    answer.set()
    wait_for_senders()
    assert only(stored()).state == "sent"


def test_a_process_that_has_its_hands_full_leaves_the_mail_for_later(later, queue, stored, send_due, provider):
    queue()
    assert (provider.asked, only(stored()).state) == ([], "queued")
    assert send_due() == {"sent": 1}
    assert send_due() == {}
    assert len(provider.asked) == 1


def test_a_commit_stands_when_no_thread_can_be_had(queue, stored, send_due, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    for _ in range(6):  # more often than there are permits
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            queue()
    queue()
    assert [mail.state for mail in stored()] == ["queued"] * 6 + ["sent"]


# What is tried again


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(429, "rate_limit_exceeded", "Too many requests"), "429 rate_limit_exceeded: Too many requests"),
        (error(429, "daily_quota_exceeded", "You have reached it"), "429 daily_quota_exceeded: You have reached it"),
        (error(500, "application_error", "An unexpected error"), "500 application_error: An unexpected error"),
        (error(503, "service_unavailable", "Later"), "503 service_unavailable: Later"),
        (error(409, "concurrent_idempotent_requests", "Later"), "409 concurrent_idempotent_requests: Later"),
        ((502, "<html>Bad gateway</html>"), "502 application_error: Expected JSON response but got: text/html"),
        ((403, "<html>Forbidden</html>"), "403 application_error: Expected JSON response but got: text/html"),
        ((200, {"ok": True}), "an answer without an id"),
        ((200, []), "an answer without an id"),
        ((200, "<html>Sign in to this network</html>"), "500 application_error: Expected JSON response"),
        ((307, {}), "an answer without an id"),
    ],
)
def test_what_is_not_about_this_mail_is_tried_again(queue, stored, send_due, provider, answer, said, caplog):
    provider.planned = [answer]
    queue()
    mail = only(stored())
    assert (mail.state, mail.attempts) == ("queued", 1)
    assert mail.reason.startswith(said)
    assert "will be tried again" in only(caplog.records).getMessage()
    assert only(caplog.records).levelname == "WARNING"
    assert send_due() == {"sent": 1}
    assert len(provider.asked) == 2
    assert len({headers["Idempotency-Key"] for headers, _ in provider.asked}) == 1
    assert only(stored()).reason is None


def test_a_provider_that_takes_too_long_is_not_waited_for(queue, stored, send_due, provider, monkeypatch):
    assert resend.TIMEOUT_SECONDS == 5
    monkeypatch.setattr(resend, "TIMEOUT_SECONDS", 0.2)
    answer = threading.Event()
    provider.before_answer = answer.wait
    queue()
    assert (only(stored()).state, only(stored()).reason) == ("queued", "no answer (ReadTimeout)")
    answer.set()
    assert send_due() == {"sent": 1}
    assert len(provider.asked) == 2
    assert len(provider.mails) == 1


def test_a_provider_that_cannot_be_reached_is_tried_again(queue, stored, send_due, provider, monkeypatch):
    with TcpProxy(provider.url) as proxy:
        monkeypatch.setattr("resend.api_url", proxy.url)
        proxy.refuse()
        queue()
        assert (only(stored()).state, only(stored()).reason) == ("queued", "no answer (ConnectionError)")
        proxy.accept()
        assert send_due() == {"sent": 1}
    assert len(provider.mails) == 1


def test_a_mail_that_was_accepted_while_the_answer_got_lost_is_not_sent_twice(
    queue, stored, send_due, provider, monkeypatch
):
    with TcpProxy(provider.url) as proxy:
        monkeypatch.setattr("resend.api_url", proxy.url)
        swallowed = proxy.swallow_replies_after(b"Idempotency-Key")
        queue()
        assert swallowed.wait(10)
        assert (only(stored()).state, len(provider.mails)) == ("queued", 1)
        assert send_due() == {"sent": 1}
    assert len(provider.asked) == 2
    assert len(provider.mails) == 1
    assert only(stored()).provider_id == provider.accepted[str(only(stored()).id)][1]


def test_a_mail_stays_the_same_when_the_configuration_changes(app, later, queue, send_due, provider, settings):
    queue()
    changed = make_settings(
        settings.database_url, keyring=settings.keyring, resend_api_key=API_KEY, mail_from="Other <other@mail.example>"
    )
    with running(changed) as other, other.app_context():
        make_due()
        service.send_due(db.session())
    assert only(provider.mails)["from"] == "AudiaPro <no-reply@mail.example>"


def test_pauses_grow_to_an_hour(queue, stored, send_due, provider):
    provider.planned = [error(500, "application_error", "Later")] * 10
    queue()
    pauses = []
    for _ in range(9):
        pauses.append(round((only(stored()).due_at - now()).total_seconds() / 10) * 10)
        assert send_due() == {"queued": 1}
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_what_is_not_due_is_left_alone(app, queue, stored, provider):
    provider.planned = [error(500, "application_error", "Later")]
    queue()
    with app.app_context():
        assert service.send_due(db.session()) == {}
    assert len(provider.asked) == 1


def test_a_run_ends_where_the_provider_has_trouble(later, queue, stored, send_due, provider):
    queue(reset(), reset(), reset())
    provider.planned = [error(500, "application_error", "Later")]
    assert send_due() == {"queued": 1}
    assert len(provider.asked) == 1
    assert send_due() == {"sent": 3}


# What is over


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (400, "validation_error", "The domain is not right"),
        (401, "restricted_api_key", "This API key is restricted"),
        (403, "invalid_api_key", "API key is invalid"),
        (403, "validation_error", "The mail.example domain is not verified"),
        (409, "invalid_idempotent_request", "The key was used with another payload"),
        (422, "invalid_from_address", "Invalid from field"),
    ],
)
def test_a_refusal_is_final_and_told(queue, stored, send_due, provider, caplog, status, name, message):
    provider.planned = [error(status, name, message)]
    queue()
    mail = only(stored())
    assert (mail.state, mail.reason) == ("refused", f"{status} {name}: {message}")
    assert mail.content_encrypted is None
    record = only(caplog.records)
    assert record.levelname == "ERROR"
    assert record.getMessage() == f"a mail was refused by the provider: reset_password {mail.id}: {status} {name}"
    assert send_due() == {}
    assert len(provider.asked) == 1


def test_a_mail_is_given_up_when_its_link_has_expired(queue, stored, send_due, provider, caplog):
    provider.planned = [error(500, "application_error", "Later")]
    queue(reset(expires_at=now() + timedelta(seconds=20)))  # before the next attempt would be
    mail = only(stored())
    assert (mail.state, mail.reason) == ("given_up", "500 application_error: Later")
    assert mail.content_encrypted is None
    assert only(caplog.records).levelname == "ERROR"
    assert send_due() == {}


def test_a_mail_is_given_up_after_a_day(app, later, queue, stored, send_due, provider):
    queue()
    mail = only(stored())
    assert mail.expires_at - mail.created_at == pytest.approx(timedelta(days=1), abs=timedelta(seconds=5))
    with app.app_context():
        db.session.execute(text("UPDATE mails SET expires_at = created_at"))
        db.session.commit()
    assert send_due() == {"given_up": 1}
    assert (only(stored()).reason, provider.asked) == ("it is too late", [])


def test_what_has_been_over_for_a_month_is_removed(app, later, queue, stored, send_due):
    queue(reset(), reset())
    assert send_due() == {"sent": 2}
    kept, removed = stored()
    with app.app_context():
        for mail, days in ((kept, 29), (removed, 31)):
            db.session.add(mail)
            mail.finished_at = now() - timedelta(days=days)
        db.session.commit()
    assert send_due() == {}
    assert [mail.id for mail in stored()] == [kept.id]


# Keys


def test_a_mail_that_waits_is_rotated_and_sent_under_the_new_key(later, queue, stored, provider, settings):
    queue()
    new = MasterKey(b"n3w key of 32 bytes, drawn here.")
    both = make_settings(settings.database_url, keyring=Keyring(new, (settings.keyring.primary,)))
    with running(both) as app:
        rotated = app.test_cli_runner().invoke(args=["rotate-encryption-key"])
        assert "mails.content: 1 rotated" in rotated.output
    assert only(stored()).content_key_id == new.id
    alone = make_settings(settings.database_url, keyring=Keyring(new), resend_api_key=API_KEY)
    with running(alone) as app, app.app_context():
        assert service.send_due(db.session()) == {"sent": 1}
    assert TOKEN in only(provider.mails)["text"]


def test_a_mail_under_an_unknown_key_waits_for_it(later, queue, stored, send_due, provider, settings, caplog):
    queue()
    other = make_settings(settings.database_url, resend_api_key=API_KEY)
    with running(other) as app, app.app_context():
        assert service.send_due(db.session()) == {"queued": 1}
    assert "not configured" in only(stored()).reason
    assert send_due() == {"sent": 1}


def test_a_mail_whose_key_was_forgotten_is_not_sent(app, later, queue, stored, send_due, provider):
    queue()
    with app.app_context():
        db.session.execute(text("UPDATE mails SET content_encrypted = NULL"))
        db.session.commit()
    assert send_due() == {"queued": 1}
    assert (only(stored()).reason, provider.asked) == ("its content was removed", [])


# What is refused


@pytest.mark.parametrize(
    "to",
    [
        "ada@acme.example\r\nBcc: eve@evil.example",
        "ada@acme.example\nBcc: eve@evil.example",
        "ada@acme.example, eve@evil.example",
        "Ada <ada@acme.example>",
        "ada",
        "",
    ],
)
def test_what_is_not_one_address_is_refused(app, stored, to):
    with app.app_context(), pytest.raises(Invalid):
        service.queue(db.session(), to, reset())
    assert stored() == []


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x00", "\x85", "\u2028", "\u2029"])
def test_a_name_with_a_line_break_is_refused(app, stored, end):
    name = f"Acme{end}Bcc: eve@evil.example"
    with app.app_context(), pytest.raises(Invalid) as refusal:
        service.queue(db.session(), TO, NewApiKey(name, "Export", "ada@acme.example", now()))
    assert refusal.value.errors == [{"field": "tenant_name", "message": "must be a single line of text"}]
    assert stored() == []


def test_news_that_cannot_be_written_do_not_keep_a_change_from_being_stored(app, stored, caplog):
    with app.app_context():
        service.notify(db.session(), TO, NewApiKey("Acme\u2028Ltd", "Export", "ada@acme.example", now()))
        db.session.commit()
    assert stored() == []
    assert "a notice is not sent: new_api_key: Invalid" in caplog.text


def test_production_without_a_key_refuses_when_a_mail_is_queued(database_url):
    production = make_settings(database_url, environment="production")
    with running(production) as app, app.app_context():
        with pytest.raises(Unavailable, match="Mail cannot be sent at the moment"):
            service.queue(db.session(), TO, reset())
        db.session.commit()
        assert db.session.execute(text("SELECT count(*) FROM mails")).scalar() == 0


def test_the_start_warns_of_production_without_a_key(database_url):
    warning = "warning: no mail can be sent, and what needs it is refused: set RESEND_API_KEY"
    for changes, warned in (
        ({"environment": "production"}, True),
        ({"environment": "production", "resend_api_key": API_KEY}, False),
        ({"environment": "development"}, False),
    ):
        fit = make_settings(database_url, keyring=Keyring(MasterKey(bytes(range(32)))), **changes)
        with running(fit) as app, app.app_context():
            assert (warning in check_start(app, fit)) == warned


def test_development_without_a_key_prints_the_mail(database_url, capfd):
    with running(make_settings(database_url)) as app, in_database(app):
        app.extensions["encryption"].check_and_register(db.engine)
        service.queue(db.session(), TO, reset())
        db.session.commit()
        wait_for_senders()
        assert db.session.execute(text("SELECT state FROM mails")).scalar() == "sent"
    said = capfd.readouterr()
    assert said.out == ""
    for part in (f"To: {TO}", "Subject: Set a new password", f"https://audiapro.example/reset-password#{TOKEN}"):
        assert part in said.err
