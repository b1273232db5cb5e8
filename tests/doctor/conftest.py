"""An installation that is well kept: its login owns the database and is nothing else, and its Redis has a password."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from apiflask import APIFlask

from app.config import Settings
from app.doctor import Finding, State, examine
from app.extensions import db
from app.startup import check_start
from tests.conftest import make_settings, migrate, running
from tests.servers import PostgresClient


@dataclass(frozen=True)
class WellKept:
    """url: as its own login; the administrator's leads to the same database. settings: those of every test."""

    url: str
    administrator_url: str
    login: str

    def execute(self, *statements: str) -> None:
        """As the administrator."""
        with psycopg.connect(self.administrator_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="session")
def well_kept_database(postgres: PostgresClient, worker_id: str) -> Iterator[WellKept]:
    name, password = f"doctor_{worker_id}", secrets.token_hex(16)
    postgres.drop_database(name)
    administrator_url = postgres.create_database(name)
    address = administrator_url.rpartition("@")[2]
    kept = WellKept(f"postgresql+psycopg://{name}:{password}@{address}", administrator_url, name)
    kept.execute(
        f"DROP ROLE IF EXISTS {name}",
        f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD '{password}'",
        f"ALTER DATABASE {name} OWNER TO {name}",
        f"ALTER SCHEMA public OWNER TO {name}",
    )
    migrate(kept.url)
    yield kept
    postgres.drop_database(name)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS audiapro_web_{name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def well_kept(well_kept_database: WellKept) -> Iterator[WellKept]:
    """The same, empty."""
    yield well_kept_database
    tables = ", ".join(f'"{table.name}"' for table in db.metadata.sorted_tables)
    well_kept_database.execute(f"TRUNCATE {tables}")


@pytest.fixture
def settings(well_kept: WellKept, redis_url: str) -> Settings:
    return make_settings(
        well_kept.url,
        environment="production",
        redis_url=redis_url,
        resend_api_key="re_" + secrets.token_hex(16),
        trusted_proxy_hops=1,
    )


def examined(settings: Settings, *, start: bool = True) -> list[Finding]:
    """What is found, of an installation that has served with these settings unless ``start`` is False."""
    with running(settings) as app:
        return examined_app(app, settings, start=start)


def examined_app(app: APIFlask, settings: Settings, *, start: bool = True) -> list[Finding]:
    with app.app_context():
        if start:
            check_start(app, settings)
        return list(examine())


def not_ok(found: list[Finding]) -> dict[str, Any]:
    return {finding.subject: finding.text for finding in found if finding.state is not State.OK}
