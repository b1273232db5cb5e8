"""Several senders at once, and senders that are killed: nothing is lost, and nothing is sent twice."""

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from app.config import load_settings
from app.extensions import db
from app.mail import service
from tests.conftest import in_database, running
from tests.mail.conftest import TO, TOKEN, make_due, reset
from tests.mail.provider import API_KEY, error
from tests.test_serving import FLASK, environment, run, started


def test_two_senders_at_once_do_not_both_take_a_mail(app, later, queue, stored, provider):
    queue(*(reset() for _ in range(12)))
    barrier = threading.Barrier(3)
    provider.before_answer = lambda: time.sleep(0.01)

    def send():
        with app.app_context():
            barrier.wait(10)
            return service.send_due(db.session())

    with ThreadPoolExecutor(3) as threads:
        counts = [threads.submit(send) for _ in range(3)]
        assert sum((count.result(60) for count in counts), Counter()) == {"sent": 12}
    assert len(provider.asked) == len(provider.mails) == 12
    assert {(mail.state, mail.attempts) for mail in stored()} == {("sent", 1)}


def test_a_mail_is_nobody_elses_while_it_is_sent(app, later, queue, provider):
    queue()
    asked, answer = threading.Event(), threading.Event()
    provider.before_answer = lambda: (asked.set(), answer.wait(10))

    def send():
        with app.app_context():
            return service.send_due(db.session())

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(send)
        assert asked.wait(10)
        assert send() == {}
        answer.set()
        assert first.result(10) == {"sent": 1}
    assert len(provider.asked) == 1


@pytest.mark.parametrize("late", [error(500, "application_error", "Later"), error(422, "validation_error", "No")])
def test_a_sender_that_was_overtaken_changes_nothing_any_more(app, later, queue, stored, provider, late):
    queue()
    asked, answer = threading.Event(), threading.Event()
    provider.planned = [late]
    provider.before_answer = lambda: (asked.set(), answer.wait(10))

    def send():
        with app.app_context():
            return service.send_due(db.session())

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(send)
        assert asked.wait(10)
        provider.before_answer = lambda: None
        with app.app_context():
            make_due()
        assert send() == {"sent": 1}
        answer.set()
        slow.result(10)
    (mail,) = stored()
    assert (mail.state, mail.reason) == ("sent", None)


def test_a_sender_that_was_overtaken_does_not_end_the_claim_of_the_other(app, later, queue, stored, provider):
    queue()
    provider.planned = [error(500, "application_error", "Later")]

    def send():
        with app.app_context():
            return service.send_due(db.session())

    with ThreadPoolExecutor(2) as threads:
        slow, slow_asked = hold(provider)
        first = threads.submit(send)
        assert slow_asked.wait(10)
        with app.app_context():
            make_due()
        other, other_asked = hold(provider)
        second = threads.submit(send)
        assert other_asked.wait(10)
        (claimed,) = stored()
        slow.set()
        first.result(10)
        (still,) = stored()
        assert (still.due_at, still.reason, still.attempts) == (claimed.due_at, None, 2)
        other.set()
        assert second.result(10) == {"sent": 1}


def hold(provider):
    """Two events: set the first to let the next answer go; the second says that the request is there."""
    answer, asked = threading.Event(), threading.Event()
    provider.before_answer = lambda: (asked.set(), answer.wait(10))
    return answer, asked


def test_a_mail_whose_sender_was_killed_is_sent_once(database_url, later, provider, tmp_path):
    variables = {
        "DATABASE_URL": database_url,
        "RESEND_API_KEY": API_KEY,
        "RESEND_API_URL": provider.url,
        "RESEND_FROM_EMAIL": "no-reply@mail.example",
        "PUBLIC_URL": "https://audiapro.example",
    }
    with running(load_settings(environment(**variables), None)) as app, in_database(app):
        app.extensions["encryption"].check_and_register(db.engine)
        service.queue(db.session(), TO, reset())
        db.session.commit()
        asked, answer = threading.Event(), threading.Event()
        provider.before_answer = lambda: (asked.set(), answer.wait(30))
        with started([*FLASK, "send-mails"], tmp_path / "log", **variables) as process:
            assert asked.wait(30), (tmp_path / "log").read_text()
            process.send_signal(signal.SIGKILL)  # the provider has accepted the mail, and nobody knows
            process.wait(30)
        provider.before_answer = lambda: None
        answer.set()
        assert len(provider.mails) == 1
        assert db.session.execute(text("SELECT state FROM mails")).scalar() == "queued"
        db.session.commit()
        assert service.send_due(db.session()) == {}  # it is claimed still
        make_due()
        done = run([*FLASK, "send-mails"], **variables)
        assert (done.returncode, done.stdout) == (0, "1 sent, 0 to be tried again, 0 refused, 0 given up.\n"), done
        assert db.session.execute(text("SELECT state, attempts FROM mails")).all() == [("sent", 2)]
    assert len(provider.asked) == 2
    assert len(provider.mails) == 1
    said = (tmp_path / "log").read_text() + done.stderr
    assert not any(secret in said for secret in (TOKEN, API_KEY, TO))


def test_the_loop_goes_on_and_survives_a_database_without_tables(tmp_path, provider):
    url = f"sqlite:///{tmp_path / 'audiapro.db'}"
    log = tmp_path / "log"
    with started([*FLASK, "send-mails", "--loop"], log, DATABASE_URL=url) as process:
        for _ in range(300):
            if "The database cannot be used" in log.read_text():
                break
            time.sleep(0.05)
        assert process.poll() is None
    assert "The database cannot be used (OperationalError): trying again." in log.read_text()
    assert "Traceback" not in log.read_text()
