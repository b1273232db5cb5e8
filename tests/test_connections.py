"""Whether the database has room for the connections of the web processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import create_engine

from app.connections import SPARE, Room, check_connections, room_for
from app.database import POOL_SIZE
from app.extensions import db
from app.startup import check_start
from tests.conftest import make_settings
from tests.servers import PostgresClient

SETTINGS = make_settings("sqlite://")
SERVER = 200 - 3  # of the run's cluster, less what is reserved for administrators


@contextmanager
def limited(postgres: PostgresClient, name: str, of_login: int, of_database: int) -> Iterator[str]:
    """The URL of a database, for a login of its own."""
    postgres.drop_database(name)
    postgres.create_database(name)
    with psycopg.connect(postgres.url(), autocommit=True) as administrator:
        administrator.execute(f"DROP ROLE IF EXISTS {name}")
        administrator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'room' CONNECTION LIMIT {of_login}")
        administrator.execute(f"ALTER DATABASE {name} CONNECTION LIMIT {of_database}")
        address = postgres.url(name).rpartition("@")[2]
        yield f"postgresql+psycopg://{name}:room@{address}"
        postgres.drop_database(name)
        administrator.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("of_login", "of_database", "offered"),
    [(-1, -1, SERVER), (20, -1, 20), (-1, 30, 30), (20, 30, 20), (0, -1, 0)],
)
def test_the_least_that_server_login_and_database_allow_is_offered(
    postgres: PostgresClient, worker_id: str, of_login: int, of_database: int, offered: int
) -> None:
    name = f"room_{worker_id}"
    with limited(postgres, name, of_login or 1, of_database) as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            if not of_login:  # it may come in no more, and whoever is in stays
                with psycopg.connect(postgres.url(), autocommit=True) as administrator:
                    administrator.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
            assert room_for(connection, 2) == Room(offered, 2 * POOL_SIZE + SPARE)
            fits = offered >= 2 * POOL_SIZE + SPARE
            told = check_connections(connection, replace(SETTINGS, web_concurrency=2))
            assert (told == []) is fits
            pooled = replace(SETTINGS, web_concurrency=64, rotation_database_url=url)
            assert check_connections(connection, pooled) == []
        engine.dispose()


def test_the_start_warns_of_too_many_processes_and_of_nothing_on_sqlite(app) -> None:
    with app.app_context():
        is_postgres = db.engine.dialect.name == "postgresql"
        told = [
            line
            for count in (2, 64)
            for line in check_start(app, replace(SETTINGS, web_concurrency=count))
            if "connections" in line
        ]
    expected = (
        f"warning: this machine may need {64 * POOL_SIZE + SPARE} connections to the database, which has {SERVER} for "
        "this login: lower WEB_CONCURRENCY, or raise what the database allows"
    )
    assert told == ([expected] if is_postgres else [])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_process_opens_no_more_than_its_share(app) -> None:
    with app.app_context():
        assert (db.engine.pool.size(), db.engine.pool._max_overflow) == (POOL_SIZE, 0)
