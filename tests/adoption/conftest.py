"""Databases of another application, of both kinds, made with plain SQL and bare ``cryptography``; and the command."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from apiflask import APIFlask
from click.testing import Result
from cryptography.fernet import Fernet

from app.extensions import db
from tests.conftest import in_database
from tests.servers import PostgresClient

ROOT = Path(__file__).parents[2]
OLD_KEY = Fernet.generate_key()


def token(text: str, key: bytes = OLD_KEY) -> str:
    """As the other application encrypted."""
    return Fernet(key).encrypt(text.encode()).decode()


class OldDatabase:
    """Statements are written with ``?``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.path = Path(url.removeprefix("sqlite:///"))

    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if self.is_sqlite:
            with closing(sqlite3.connect(self.path)) as connection:
                found = connection.execute(sql, parameters).fetchall()
                connection.commit()
                return found
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(sql.replace("?", "%s").encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert(self, table: str, **values: Any) -> None:
        marks = ", ".join("?" for _ in values)
        self.all(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())


@pytest.fixture(scope="session")
def old_postgres(postgres: PostgresClient) -> Iterator[str]:
    name = f"old_{uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def make_old(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], OldDatabase]]:
    """An empty database of the given kind."""
    made: list[OldDatabase] = []

    def make(kind: str) -> OldDatabase:
        url = f"sqlite:///{tmp_path}/old.db" if kind == "sqlite" else request.getfixturevalue("old_postgres")
        made.append(OldDatabase(url))
        return made[-1]

    yield make
    for old in made:
        if not old.is_sqlite:
            old.all("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS legacy CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, make_old: Callable[[str], OldDatabase]) -> OldDatabase:
    return make_old(request.param)


@dataclass
class Adopt:
    """Runs the command in this process. Whatever it does, it shows none of ``hidden``."""

    app: APIFlask
    folder: Path
    variables: dict[str, str]
    hidden: list[str]

    def __call__(self, mapping: str, *options: str, **variables: str) -> Result:
        path = self.folder / "mapping.toml"
        path.write_text(mapping)
        given = self.variables | variables
        runner = self.app.test_cli_runner()
        result = runner.invoke(args=["encryption", "adopt", str(path), *options], env=given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        assert [text for text in [*self.hidden, *given.values()] if text in result.output] == []
        return result

    def counts(self, mapping: str, *options: str, **variables: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(mapping, *options, "--json", **variables).stdout)
        return found


@pytest.fixture
def adopt(app: APIFlask, tmp_path: Path) -> Adopt:
    return Adopt(app, tmp_path, {"OLD_ENCRYPTION_KEY": OLD_KEY.decode()}, [])


def stored(app: APIFlask) -> dict[str, list[tuple[Any, ...]]]:
    """All that is in our database."""
    with in_database(app), db.engine.connect() as connection:
        tables = db.metadata.sorted_tables
        return {table.name: sorted(map(tuple, connection.execute(table.select())), key=repr) for table in tables}
