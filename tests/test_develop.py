"""``flask develop``: what a new user sees first, tried as they would."""

import re
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from app.demonstration.generated import generated_calls
from tests.servers import free_port
from tests.test_serving import (
    FLASK,
    OTHER_KEY,
    PATIENCE,
    database_with_a_key,
    registered_url,
    run,
    started,
    wait_for_answer,
)

__all__ = ["database_with_a_key", "registered_url"]

DEVELOP = [*FLASK, "develop"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'instance' / 'audiapro.db'}"


@pytest.fixture
def port() -> int:
    return free_port()


def wait_for_text(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> re.Match[str]:
    for _ in range(300):
        if match := re.search(pattern, log.read_text(), re.MULTILINE):
            return match
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def in_a_fresh_shell(line: str, folder: Path) -> str:
    shell = ["bash", "-c", line + " -w '\\n%{http_code}'"]
    done = subprocess.run(
        shell, cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_run_prints_three_lines_that_work_as_printed(url, port, tmp_path):
    log = tmp_path / "log"
    with started(DEVELOP, log, DATABASE_URL=url, PORT=str(port)) as process:
        wait_for_answer(port, process)
        said = log.read_text()
        sign_in, phone_systems, delivery = re.findall(r"^curl .*$", said, re.MULTILINE)
        assert f"http://127.0.0.1:{port}" in said
        assert '"access_token":' in in_a_fresh_shell(sign_in, tmp_path)
        listed = in_a_fresh_shell(phone_systems, tmp_path)
        assert listed.endswith("\n200")
        assert "Demonstration Asterisk" in listed
        assert in_a_fresh_shell(delivery, tmp_path).endswith("\n201")
        assert in_a_fresh_shell(delivery, tmp_path).endswith("\n200")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    with create_engine(url).connect() as connection:
        counts = connection.execute(text("SELECT demonstration, count(*) FROM calls GROUP BY demonstration")).all()
    made_up, delivered = (dict(map(tuple, counts)).get(flag) for flag in (1, 0))
    assert delivered == 3, "two captured deliveries, and the one of the curl line"
    assert made_up > 300


def test_the_second_run_makes_nothing_and_takes_the_next_port_if_the_first_is_taken(url, port, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with started(DEVELOP, first, DATABASE_URL=url, PORT=str(port)) as process:
        wait_for_answer(port, process)
        with started(DEVELOP, second, DATABASE_URL=url, PORT=str(port)) as other:
            found = wait_for_text(second, r"^AudiaPro runs at http://127\.0\.0\.1:(\d+)$", other)
            assert int(found[1]) > port
            wait_for_answer(int(found[1]), other)
    assert "flask set-password admin@demo.example" in second.read_text()
    assert "curl" not in second.read_text()


def test_a_port_that_is_only_listened_at_on_all_addresses_is_taken(url, tmp_path):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port, log = taken.getsockname()[1], tmp_path / "log"
        with started(DEVELOP, log, DATABASE_URL=url, PORT=str(port)) as process:
            found = wait_for_text(log, r"^AudiaPro runs at http://127\.0\.0\.1:(\d+)$", process)
            assert int(found[1]) != port


def test_a_production_process_makes_no_account(url):
    for kind in ("production", ""):
        ended = run(DEVELOP, DATABASE_URL=url, APP_ENV=kind)
        assert ended.returncode == 1
        assert "APP_ENV=development" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert not Path(url.removeprefix("sqlite:///")).exists()


def test_keys_that_do_not_fit_end_it_like_a_server(registered_url):
    ended = run(DEVELOP, DATABASE_URL=registered_url, ENCRYPTION_KEY=OTHER_KEY)
    assert ended.returncode == 78
    assert "do not fit the database" in ended.stderr


def test_generated_calls_are_four_weeks_of_working_hours_and_always_the_same():
    until, zone = datetime(2026, 11, 20, 15, 30, tzinfo=UTC), ZoneInfo("Europe/London")
    calls = generated_calls(until, zone)
    assert calls == generated_calls(until, zone)
    assert len({call.record_key for call in calls}) == len(calls) > 300
    assert all(until - timedelta(days=28) <= call.started_at for call in calls)
    assert all(call.ended_at is not None and call.ended_at <= until for call in calls)
    assert all(8 <= call.started_at.astimezone(zone).hour <= 18 for call in calls)
    assert max(call.started_at for call in calls).date() == until.date()
    weekend = sum(call.started_at.astimezone(zone).weekday() >= 5 for call in calls)
    assert 0 < weekend < len(calls) / 10
    assert {call.disposition for call in calls} == {"answered", "no_answer", "busy", "voicemail", "failed"}
