"""One PostgreSQL and one Redis for the whole run, held by the process that starts it; its workers get the addresses.
That process also sees to it that there are the programs that the collected tests need: Chromium, nginx.

One cast in all tests: Alice owns the tenant acme, Bob is a member on her team, Charlie owns another tenant.
"""

import gc
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any
from uuid import UUID

import flask_migrate
import psycopg
import pytest
from apiflask import APIFlask
from argon2 import PasswordHasher
from flask import Flask, Response, request
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.routing import Rule

from app import create_app
from app.config import Settings
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity import passwords, sessions, tokens
from app.identity.models import Membership, Role, User
from app.identity.passwords import hash_password
from app.tenancy import system_scope
from app.tenants.models import Tenant
from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, PostgresClient, Redis
from tests.servers.browser import provide_chromium
from tests.servers.proxies import provide_nginx


class Servers:
    """Started when first asked for, closed at the end of the run."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self.close = self._running.close
        self._provided: set[str] = set()

    @cached_property
    def postgres(self) -> Postgres:
        return self._running.enter_context(Postgres(FAST_BUT_NOT_DURABLE))

    @cached_property
    def redis(self) -> Redis:
        return self._running.enter_context(Redis())

    def provide_programs(self, config: pytest.Config, collected: Iterable[str]) -> None:
        """Those that the collected tests need, whose ids are given: see ``tests.servers.browser`` and ``.proxies``.

        Once, before any test runs, and by this process alone: two that install the same thing are in each other's way.
        """
        folders = {name.split("/")[1] for name in collected if name.count("/") > 1}
        for folder, provide in (("browser", provide_chromium), ("deploy", provide_nginx)):
            if folder in folders - self._provided:
                self._provided.add(folder)
                provide(config.get_terminal_writer().line)


SERVERS = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs started by a shell's background job ignore it
    if not hasattr(config, "workerinput"):
        config.stash[SERVERS] = servers = Servers()
        config.add_cleanup(servers.close)


@pytest.hookimpl(optionalhook=True)  # known to pytest-xdist alone, which a run may do without
def pytest_configure_node(node: Any) -> None:
    servers = node.config.stash[SERVERS]
    node.workerinput["postgres_url"] = servers.postgres.url()
    node.workerinput["redis_url"] = servers.redis.url


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    node.config.stash[SERVERS].provide_programs(node.config, ids)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Whatever is loaded by now stays: to look for garbage in it all the time is a tenth of the work of a test."""
    if SERVERS in session.config.stash and not session.config.option.collectonly:
        session.config.stash[SERVERS].provide_programs(session.config, (item.nodeid for item in session.items))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def routes_compiled_once() -> Iterator[None]:
    """Compiling the same routes is most of what making an application takes, and nearly every test makes one."""
    compile_anew = Rule._compile_builder
    compiled: dict[tuple[Any, ...], Any] = {}

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:  # whose converters are called meanwhile
            return compile_anew(rule, append_unknown)
        built_from = (rule.rule, *rule._trace, append_unknown)
        if built_from not in compiled:
            compiled[built_from] = compile_anew(rule, append_unknown)
        return compiled[built_from]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_once)
        yield


class TemplatesCompiledOnce(BytecodeCache):
    """What Jinja has compiled, for all applications of a process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._known[bucket.key, bucket.checksum] = bucket.code


TEMPLATES = TemplatesCompiledOnce()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresClient:
    """The run's cluster, shared by all workers: make databases under names of your own, and do not stop it."""
    worker: dict[str, str] | None = getattr(pytestconfig, "workerinput", None)
    return PostgresClient(worker["postgres_url"]) if worker else pytestconfig.stash[SERVERS].postgres


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """A database in the run's Redis that this worker has to itself."""
    worker: dict[str, str] | None = getattr(pytestconfig, "workerinput", None)
    if worker is None:
        return pytestconfig.stash[SERVERS].redis.url
    return f"{worker['redis_url'].removesuffix('/0')}/{worker['workerid'].removeprefix('gw')}"


PASSWORD = "correct horse battery staple"  # everybody's
RECOMMENDED, NOBODY = passwords._hasher, passwords._NOBODY  # of the service
QUICK_NOBODY = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(secrets.token_hex())


def make_settings(database_url: str, **changes: Any) -> Settings:
    """A fit configuration with keys of its own."""
    values: dict[str, Any] = {
        "environment": "development",
        "keyring": Keyring(MasterKey(secrets.token_bytes(32))),
        "jwt_secret_key": secrets.token_urlsafe(48),
        "jwt_secret_key_fallbacks": (),
        "database_url": database_url,
        "rotation_database_url": None,
        "redis_url": None,
        "port": 5000,
        "access_token_expires": timedelta(minutes=15),
        "refresh_token_expires": timedelta(days=1),
        "session_idle_expires": timedelta(days=1),
        "metrics_token": secrets.token_urlsafe(48),
        "trusted_proxy_hops": 0,
        "mail_from": "AudiaPro <no-reply@mail.example>",
        "public_url": "https://audiapro.example",
    }
    return Settings(**values | changes)


@contextmanager
def running(settings: Settings) -> Iterator[APIFlask]:
    """An application, without the check at start, that lets go of its database in the end."""
    app = create_app(settings)
    yield app
    wait_for_senders()
    wait_until_counted()
    with app.app_context():
        db.engine.dispose()


def wait_for_senders() -> None:
    """Until the mails that were just queued are sent: each is, by a thread of its own, on a connection of its own."""
    _join("mail")


def wait_until_counted() -> None:
    """Until the values of each key are counted, which whoever asked for the metrics has begun."""
    _join("values")


def _join(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def in_database(app: Flask) -> Iterator[None]:
    """For a test to look at, or change, what is stored for any tenant, with ``db.session`` or ``db.engine``."""
    with app.app_context(), system_scope():
        yield


def migrate(database_url: str) -> str:
    with running(make_settings(database_url)) as app, app.app_context():
        flask_migrate.upgrade()
    return database_url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresClient, worker_id: str) -> Iterator[str]:
    """A database that this worker has to itself."""
    name = f"tests_{worker_id}"
    postgres.drop_database(name)
    yield migrate(postgres.create_database(name).replace("postgresql://", "postgresql+psycopg://"))
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def empty_postgres(migrated_postgres: str) -> Iterator[Callable[[], None]]:
    """Empties that database, over one connection for all tests: making one takes longer than the work."""
    # For a few rows a tenth of the time of TRUNCATE.
    statements = "; ".join(f"DELETE FROM {table}" for table in reversed(db.metadata.sorted_tables))
    with psycopg.connect(migrated_postgres.replace("+psycopg", ""), autocommit=True) as connection:

        def empty() -> None:
            connection.execute(statements.encode())  # as one message, which is one transaction

        yield empty


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database without a row in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "audiapro.db")
        yield f"sqlite:///{tmp_path / 'audiapro.db'}"
    else:
        url: str = request.getfixturevalue("migrated_postgres")
        empty: Callable[[], None] = request.getfixturevalue("empty_postgres")
        yield url
        empty()


@pytest.fixture
def settings(database_url: str) -> Settings:
    return make_settings(database_url)


Answered = tuple[str, str, str]  # the path, the method in lower case, the status


@pytest.fixture(scope="session")
def documented() -> set[Answered]:
    """Every answer that the description of the API knows."""
    with running(make_settings("sqlite://")) as app, app.app_context():
        spec: Any = app.spec
    return {
        (path, method, status)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }


@pytest.fixture
def app(settings: Settings, documented: set[Answered]) -> Iterator[APIFlask]:
    """The application, ready to serve. No test may see it answer with a status that its description does not have."""
    described, seen = {(path, method) for path, method, _ in documented}, set()

    def see(response: Response) -> Response:
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", request.url_rule.rule) if request.url_rule else ""
        if (path, request.method.lower()) in described:
            seen.add((path, request.method.lower(), str(response.status_code)))
        return response

    with running(settings) as app:
        app.jinja_env.bytecode_cache = TEMPLATES
        app.after_request(see)
        with in_database(app):
            app.extensions["encryption"].check_and_register(db.engine)
        yield app
    assert {answer for answer in seen - documented if answer[2] != "500"} == set()


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    """Somebody who is not signed in."""
    return app.test_client()


@dataclass(frozen=True)
class Person:
    """A member of a tenant, whose ``client`` is signed in."""

    email: str
    user_id: UUID
    tenant_id: UUID
    session_id: UUID
    client: FlaskClient

    @property
    def subject(self) -> tokens.Subject:
        return tokens.Subject(self.user_id, self.tenant_id, self.session_id)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed, and those of nobody verified, at the least cost there is: see ``recommended_cost``."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", quick)
    monkeypatch.setattr(passwords, "_NOBODY", QUICK_NOBODY)


@pytest.fixture
def recommended_cost(quick_hashes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed as the service does it. For tests of that, by ``usefixtures``: before anybody is made."""
    monkeypatch.setattr(passwords, "_hasher", RECOMMENDED)
    monkeypatch.setattr(passwords, "_NOBODY", NOBODY)


@pytest.fixture
def password_hash(quick_hashes: None) -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def cast(app: APIFlask, password_hash: str) -> dict[str, Person]:
    people = {}
    with in_database(app):
        tenants = {name: Tenant(name=name.title(), subdomain=name) for name in ("acme", "others")}
        for name, subdomain, role in (
            ("alice", "acme", Role.OWNER),
            ("bob", "acme", Role.MEMBER),
            ("charlie", "others", Role.OWNER),
        ):
            user = User(email=f"{name}@{subdomain}.example", password_hash=password_hash)
            membership = Membership(user=user, tenant=tenants[subdomain], role=role)
            db.session.add(membership)
            db.session.commit()
            started = sessions.start(db.session(), membership, "192.0.2.1", "tests")
            subject = tokens.Subject(user.id, tenants[subdomain].id, started.id)
            people[name] = Person(user.email, *subject, signed_in(app, subject))
    return people


def signed_in(app: APIFlask, subject: tokens.Subject) -> FlaskClient:
    """A client with an access token for ``subject``."""
    client = app.test_client()
    with app.app_context():
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {tokens.access_token(subject)}"
    return client


@pytest.fixture
def alice(cast: dict[str, Person]) -> Person:
    return cast["alice"]


@pytest.fixture
def bob(cast: dict[str, Person]) -> Person:
    return cast["bob"]


@pytest.fixture
def charlie(cast: dict[str, Person]) -> Person:
    return cast["charlie"]
