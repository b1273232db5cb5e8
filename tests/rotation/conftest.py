"""Databases to rotate, of both kinds, and processes to rotate them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import flask_migrate
import pytest

from app import create_app
from app.config import load_settings
from app.encryption import rotation as rotation_module
from app.extensions import db
from tests.rotation.world import NEW, OLD, Outcome, World
from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, PostgresClient

ROOT = Path(__file__).parents[2]


def migrate(url: str) -> None:
    app = create_app(load_settings(World(url).environment(OLD), env_file=None))
    with app.app_context():
        flask_migrate.upgrade(str(ROOT / "migrations"))
        db.engine.dispose()  # who copies the database must find nobody connected, and nothing in a write-ahead log


def sqlalchemy_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


class Databases:
    """Makes databases with our tables, as copies of one that was migrated."""

    def __init__(self, postgres: PostgresClient) -> None:
        self.postgres = postgres
        self.template = f"rotation_{uuid4().hex}"
        migrate(sqlalchemy_url(postgres.create_database(self.template)))

    def make(self, template: str | None = None) -> World:
        name = f"rotation_{uuid4().hex}"
        return World(sqlalchemy_url(self.postgres.create_database(name, template or self.template)))

    def drop(self, world: World) -> None:
        self.postgres.drop_database(world.url.rpartition("/")[2])


@pytest.fixture(scope="session")
def databases(postgres: PostgresClient) -> Iterator[Databases]:
    made = Databases(postgres)
    yield made
    postgres.drop_database(made.template)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def on_postgres(databases: Databases) -> Iterator[World]:
    world = databases.make()
    yield world
    databases.drop(world)


@pytest.fixture
def on_sqlite(sqlite_template: Path, tmp_path: Path) -> World:
    return World(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'audiapro.db')}")


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> World:
    """An empty database of either kind."""
    return request.getfixturevalue("on_sqlite" if request.param == "sqlite" else "on_postgres")


@pytest.fixture(scope="session")
def crashing_databases() -> Iterator[Databases]:
    """In a cluster that tests may stop."""
    with Postgres(FAST_BUT_NOT_DURABLE) as cluster:
        yield Databases(cluster)


@pytest.fixture
def on_crashing_postgres(crashing_databases: Databases) -> Iterator[World]:
    world = crashing_databases.make()
    yield world
    assert isinstance(crashing_databases.postgres, Postgres)
    crashing_databases.postgres.start()  # where a test failed while it was stopped
    crashing_databases.drop(world)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Called instead of sleeping between two passes of a rotation in this process; a test may append what to do."""
    calls: list[float] = []
    actions: list[Callable[[], None]] = []

    def sleep(seconds):
        calls.append(seconds)
        for action in list(actions):
            action()

    monkeypatch.setattr(rotation_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return SimpleNamespace(calls=calls, actions=actions)


class Commands:
    """Runs ``flask …`` in processes of their own: see driver.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver = subprocess.Popen(
            [sys.executable, "-m", "tests.rotation.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> int:
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        number = uuid4().hex
        self.driver.stdin.write(json.dumps(request | {"number": number}) + "\n")
        self.driver.stdin.flush()
        while not (answer := self.driver.stdout.readline().split()) or answer[0] != number:
            assert answer, "the driver has ended"  # else it answers what a test that timed out had asked
        return int(answer[1])

    def start(self, world: World, *command: str, keys: tuple[str, ...] = (NEW, OLD), **faults: Any) -> "Command":
        name = uuid4().hex
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        environment = world.environment(*keys)
        pid = self.ask(command=command, environment=environment, out=str(out), err=str(err), **faults)
        return Command(self, pid, out, err)

    def run(self, world: World, *command: str, **how: Any) -> Outcome:
        return self.start(world, *command, **how).wait()

    def rotate(self, world: World, *options: str, **how: Any) -> Outcome:
        return self.run(world, "rotate-encryption-key", *options, **how)


class Command:
    """One such process. ``pid`` stays taken until it was waited for."""

    def __init__(self, commands: Commands, pid: int, out: Path, err: Path) -> None:
        self.commands, self.pid, self.out, self.err = commands, pid, out, err

    def wait(self) -> Outcome:
        """How it ended; a negative status is a signal's number."""
        status = self.commands.ask(wait=self.pid)
        return Outcome(status, self.out.read_text(), self.err.read_text())


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.driver.communicate()
