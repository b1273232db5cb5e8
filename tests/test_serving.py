"""Processes as an operator starts them: gunicorn, wsgi.py and the flask command, each a real one."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, text

from app.config import PROJECT
from tests.servers import free_port

GUNICORN = [sys.executable, "-m", "gunicorn", "wsgi:app"]
FLASK = [sys.executable, "-m", "flask"]
KEYS = {
    "JWT_SECRET_KEY": "jwt-1f0c9a8e7d6b5c4a3f2e1d0c9b8a7f6e5d4c",
    "ENCRYPTION_KEY": "Zb1q7GmXc0n4sWv2Lr9tYh3kPd8fJe6uAoQiBxNyC5E=",
    "ENCRYPTION_KEY_FALLBACKS": "",
    "JWT_SECRET_KEY_FALLBACKS": "",
}
# A worker that is told to stop while it starts does not hear it: gunicorn ends it after its graceful timeout.
PATIENCE = 40
OTHER_KEY = "pT4vKx8mQz2nRw6yLb0cHd3fJg7sUa1eViOoNtXhB5M="


def environment(**variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | KEYS | {"REDIS_URL": "", "APP_ENV": "development", "PYTHONWARNINGS": "error"} | variables


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=PROJECT, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def started(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to ``log``, ended when the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated database in a file of its own."""
    (tmp_path / "audiapro.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'audiapro.db'}"


@pytest.fixture(scope="session")
def database_with_a_key(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database in which the key is registered, by the command that does it: to be copied."""
    path = tmp_path_factory.mktemp("registered") / "audiapro.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    assert run([*FLASK, "rotate-encryption-key"], DATABASE_URL=f"sqlite:///{path}").returncode == 0
    return path


@pytest.fixture
def registered_url(database_with_a_key: Path, tmp_path: Path) -> str:
    """Such a database in a file of its own."""
    (tmp_path / "registered.db").write_bytes(database_with_a_key.read_bytes())
    return f"sqlite:///{tmp_path / 'registered.db'}"


@contextmanager
def watched_port() -> Iterator[tuple[int, list[bool]]]:
    """A free port, and whether anybody was seen to listen there until the block ended."""
    port, seen, done = free_port(), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    seen.append(True)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield port, seen
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("variables", "report"),
    [
        ({"ENCRYPTION_KEY": ""}, "ENCRYPTION_KEY is not set"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY is shorter than 32 characters"),
        ({"ENCRYPTION_KEY": OTHER_KEY}, "ENCRYPTION_KEY_FALLBACKS"),
    ],
    ids=["missing key", "bad key", "changed key"],
)
def test_gunicorn_ends_with_78_before_it_opens_a_port(registered_url, variables, report):
    with watched_port() as (port, seen):
        ended = run(GUNICORN, DATABASE_URL=registered_url, PORT=str(port), **variables)
    assert ended.returncode == 78
    assert report in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Listening" not in ended.stderr
    assert not seen
    assert not any(value in ended.stderr for value in (*KEYS.values(), OTHER_KEY) if value)


def test_the_refusal_names_the_missing_key_and_the_ways_out(registered_url):
    ended = run([sys.executable, "-c", "import wsgi"], DATABASE_URL=registered_url, ENCRYPTION_KEY=OTHER_KEY)
    assert ended.returncode == 78
    (missing,) = set(re.findall("under key ([0-9a-f]{8})", ended.stderr))
    for way_out in ("ENCRYPTION_KEY_FALLBACKS", f"encryption retire {missing}", f"encryption forget {missing}"):
        assert way_out in ended.stderr


POSTGRESQL = "postgresql://someone:canary%2Fpassword@127.0.0.1:1/audiapro"
SQLITE = "sqlite:////proc/audiapro/audiapro.db"


# Those that meet the database each in a way of its own, on both; the commands for accounts share theirs.
@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("import wsgi", POSTGRESQL),
        ("import wsgi", SQLITE),
        ("db upgrade", POSTGRESQL),
        ("db upgrade", SQLITE),
        ("create-tenant --name A --subdomain acme --admin-email a@b.example", POSTGRESQL),
        ("set-password a@b.example", POSTGRESQL),
    ],
)
def test_an_unreachable_database_is_one_line_without_the_password(command, url):
    program = [sys.executable, "-c", command] if command == "import wsgi" else [*FLASK, *command.split()]
    ended = run(program, DATABASE_URL=url)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("The database cannot be used: ")
    assert "canary" not in ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["db", "upgrade"],
        ["encryption", "status"],
        ["rotate-encryption-key"],
        ["set-password", "x@y.example"],
        ["develop"],
    ],
)
def test_a_flask_command_without_configuration_says_what_to_do(command, tmp_path):
    ended = run(FLASK + command, JWT_SECRET_KEY="", ENCRYPTION_KEY="", DATABASE_URL=f"sqlite:///{tmp_path / 'x.db'}")
    assert ended.returncode == 78
    assert ended.stderr.startswith("AudiaPro cannot start: 2 problems in the configuration.\n")
    assert "python generate_keys.py" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_commands_that_put_things_right_work_while_the_check_fails(registered_url):
    for command in (["db", "upgrade"], ["encryption", "status"]):
        ended = run(FLASK + command, DATABASE_URL=registered_url, ENCRYPTION_KEY=OTHER_KEY)
        assert ended.returncode == 0, ended.stderr


def test_a_worker_that_ends_stores_what_it_has_counted_for_the_audit_trail(sqlite_url, tmp_path):
    port = free_port()
    variables = {"DATABASE_URL": sqlite_url, "PORT": str(port), "WEB_CONCURRENCY": "1"}
    with started(GUNICORN, tmp_path / "log", **variables) as process:
        wait_for_answer(port, process)
        for _ in range(3):
            assert requests.get(f"http://127.0.0.1:{port}/api/me", timeout=5).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    with create_engine(sqlite_url).connect() as connection:
        counted = connection.execute(text("SELECT count FROM audit_events WHERE action = 'request.not_authenticated'"))
        assert sorted(counted.scalars()) == [1, 2]


def test_gunicorn_says_what_it_serves_and_stops_when_told(sqlite_url, tmp_path):
    port, log = free_port(), tmp_path / "log"
    variables = {"DATABASE_URL": sqlite_url, "PORT": str(port), "ENCRYPTION_KEY_FALLBACKS": OTHER_KEY}
    with started(GUNICORN, log, **variables) as process:
        wait_for_answer(port, process)
        ready = requests.get(f"http://127.0.0.1:{port}/readyz?canary=query", timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    said = log.read_text()
    assert re.search(
        r"^keys loaded: encryption primary [0-9a-f]{8} \(literal\), fallbacks [0-9a-f]{8} \(literal\); "
        r"JWT secret \(literal\) with 0 fallbacks$",
        said,
        re.MULTILINE,
    )
    assert f"database ready: SQLite, {tmp_path / 'audiapro.db'}" in said
    assert f"listening on port {port}" in said
    assert said.count("Booting worker") == 2
    assert not any(value in said for value in (*KEYS.values(), OTHER_KEY, "canary") if value)


def test_a_server_of_an_unmigrated_database_says_so_and_serves_once_it_is_migrated(tmp_path):
    port, log, url = free_port(), tmp_path / "log", f"sqlite:///{tmp_path / 'audiapro.db'}"
    with started(GUNICORN, log, DATABASE_URL=url, PORT=str(port), WEB_CONCURRENCY="1") as process:
        wait_for_answer(port, process)
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 503
        assert run([*FLASK, "db", "upgrade"], DATABASE_URL=url).returncode == 0
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    assert "run `flask db upgrade`" in log.read_text()


@pytest.mark.parametrize(("kind", "expected"), [("production", "0.0.0.0"), ("development", "127.0.0.1")])
def test_a_developers_server_is_for_this_machine_only(sqlite_url, kind, expected):
    shown = run([*GUNICORN, "--print-config"], DATABASE_URL=sqlite_url, PORT="5123", APP_ENV=kind)
    assert re.search(rf"^bind += \['{expected}:5123'\]$", shown.stdout, re.MULTILINE), shown.stdout


def test_no_connection_is_shared_across_the_fork(migrated_postgres, tmp_path):
    """Every worker has connections of its own: as many backends as there are processes with one, and none before."""
    port, log = free_port(), tmp_path / "log"
    engine = create_engine(migrated_postgres)
    name = f"serving-{port}"
    url = migrated_postgres.replace("postgresql+psycopg", "postgresql") + f"?application_name={name}"

    def backends() -> Any:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
        with engine.connect() as connection:
            return connection.execute(query, {"name": name}).scalar()

    with started(GUNICORN, log, DATABASE_URL=url, PORT=str(port)) as process:
        wait_for_answer(port, process)
        assert backends() == 0
        for _ in range(200):
            requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
            if backends() > 1:
                break
        else:
            pytest.fail("the second worker never had a connection of its own")
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM encryption_keys"))
    engine.dispose()


def test_the_procfile_names_the_commands_that_these_tests_start():
    assert (PROJECT / "Procfile").read_text() == "release: flask db upgrade\nweb: gunicorn wsgi:app\n"
    assert "FLASK_APP=app\n" in (PROJECT / ".flaskenv").read_text()
