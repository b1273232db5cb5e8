"""What the operator sees of mail."""

import json
import re

import pytest

from app.config import EXIT_CONFIG
from tests.conftest import make_settings, running
from tests.mail.conftest import later, provider, queue, reset, settings, stored
from tests.mail.provider import error

__all__ = ["later", "provider", "queue", "settings", "stored"]


@pytest.fixture
def run(app):
    return lambda *args: app.test_cli_runner().invoke(args=list(args))


def test_the_status_of_nothing_is_all_zero(run):
    assert run("mail", "status").stdout == "0 queued, 0 sent, 0 refused, 0 given up\n"
    assert json.loads(run("mail", "status", "--json").stdout) == {
        "queued": 0,
        "sent": 0,
        "refused": 0,
        "given_up": 0,
        "oldest_queued_at": None,
        "problems": [],
    }


def test_the_status_counts_and_says_why(run, queue, stored, provider):
    queue()
    provider.planned = [error(422, "validation_error", "Invalid to field")]
    queue()
    provider.planned = [error(503, "service_unavailable", "Later")]
    queue()
    _, refused, waiting = stored()
    found = json.loads(run("mail", "status", "--json").stdout)
    assert {name: found[name] for name in ("queued", "sent", "refused", "given_up")} == {
        "queued": 1,
        "sent": 1,
        "refused": 1,
        "given_up": 0,
    }
    assert [(problem["id"], problem["state"], problem["reason"]) for problem in found["problems"]] == [
        (str(waiting.id), "queued", "503 service_unavailable: Later"),
        (str(refused.id), "refused", "422 validation_error: Invalid to field"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["oldest_queued_at"])
    lines = run("mail", "status").stdout.splitlines()
    assert lines[0] == "1 queued, 1 sent, 1 refused, 0 given up"
    assert lines[1] == f"The oldest that waits was queued {found['oldest_queued_at']}."
    assert lines[3].endswith(
        f"reset_password {refused.id} refused, attempts: 1: 422 validation_error: Invalid to field"
    )


def test_sending_tells_how_many(run, later, queue):
    queue(reset(), reset())
    result = run("send-mails")
    assert (result.exit_code, result.stdout) == (0, "2 sent, 0 to be tried again, 0 refused, 0 given up.\n")
    result = run("send-mails")
    assert (result.exit_code, result.output) == (0, "")


def test_a_refusal_ends_in_status_1_so_that_a_scheduler_tells_it(run, later, queue, provider):
    queue(reset(), reset())
    provider.planned = [error(403, "invalid_api_key", "API key is invalid")]
    result = run("send-mails")
    assert (result.exit_code, result.stdout) == (1, "1 sent, 0 to be tried again, 1 refused, 0 given up.\n")


def test_sending_without_a_key_in_production_says_what_to_set(database_url):
    with running(make_settings(database_url, environment="production")) as app:
        result = app.test_cli_runner().invoke(args=["send-mails"])
    assert (result.exit_code, result.output) == (EXIT_CONFIG, "No mail can be sent: RESEND_API_KEY is not set.\n")


@pytest.mark.parametrize("command", [["send-mails"], ["mail", "status"]])
def test_a_database_that_cannot_be_used_is_told_in_one_line(tmp_path, command):
    with running(make_settings(f"sqlite:///{tmp_path}")) as app:
        result = app.test_cli_runner().invoke(args=command)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith("The database cannot be used")
