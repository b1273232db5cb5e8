"""Databases for the tests of the encryption: the real schema by the real migration, and apps under any keys."""

import secrets
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import flask_migrate
import pytest
from apiflask import APIFlask
from flask import Flask
from sqlalchemy import Engine, create_engine, text

from app import create_app
from app.config import load_settings
from app.database import engine_options
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db, encryption
from app.phone_systems.models import PhoneSystem
from app.tenancy import system_scope

ROOT = Path(__file__).parents[2]
AnyFlask = TypeVar("AnyFlask", bound=Flask)
DIALECTS = ("sqlite", "postgresql")


def new_key() -> str:
    """A random master key as an operator would configure it."""
    return secrets.token_hex(32)


def id_of(key: str) -> str:
    return MasterKey.parse(key).id


def new_engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), **engine_options(url))


# Marks of tests that make sense on one of the databases alone.
only_sqlite = pytest.mark.parametrize("migrated_database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("migrated_database", ["postgresql"], indirect=True)


class Database:
    """One migrated database. ``engine`` looks at it from outside, past everything that the app does."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Reading must not wait for a transaction of the app, nor for one that a test has open.
        self.engine = new_engine(url).execution_options(sqlite_begin="DEFERRED")
        self.dialect = self.engine.dialect.name
        self._apps: list[Flask] = []

    def environment(self, primary: str, *fallbacks: str) -> dict[str, str]:
        """The variables of a process with these keys."""
        return {
            "APP_ENV": "development",
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "ENCRYPTION_KEY": primary,
            "ENCRYPTION_KEY_FALLBACKS": ",".join(fallbacks),
            "DATABASE_URL": self.url,
        }

    def whole_app(self, primary: str, *fallbacks: str) -> APIFlask:
        """The app as it is deployed, with these keys, before its check at start."""
        return self._kept(create_app(load_settings(self.environment(primary, *fallbacks), env_file=None)))

    def app(self, primary: str, *fallbacks: str) -> Flask:
        """An app that has these keys and the database, and nothing else: made in no time. Before its check at start."""
        app = Flask("small")
        app.config["SQLALCHEMY_DATABASE_URI"] = self.engine.url
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(self.url)
        db.init_app(app)
        encryption.init_app(app, Keyring(MasterKey.parse(primary), map(MasterKey.parse, fallbacks)))
        return self._kept(app)

    def _kept(self, app: AnyFlask) -> AnyFlask:
        self._apps.append(app)
        return app

    def start(self, primary: str, *fallbacks: str) -> Flask:
        """Such an app with these keys that has passed its check at start. Raises KeyRefused."""
        app = self.app(primary, *fallbacks)
        with app.app_context():
            app.extensions["encryption"].check_and_register(db.engine)
        return app

    def new_system(self, tenant: UUID, **secrets: str | None) -> UUID:
        """A stored phone system with secrets under the primary key of the current app."""
        with system_scope():
            system = PhoneSystem(tenant_id=tenant, name="n", vendor="v", **secrets)
            db.session.add(system)
            db.session.commit()
        row = system.id
        db.session.remove()
        return row

    def migrate(self) -> None:
        with self.whole_app(new_key()).app_context():
            flask_migrate.upgrade(directory=str(ROOT / "migrations"))

    def all(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run SQL from outside, for good, and return its rows. Ids go in as UUIDs."""
        if self.dialect == "sqlite":  # which stores UUIDs without dashes
            parameters = {name: value.hex if isinstance(value, UUID) else value for name, value in parameters.items()}
        with self.engine.begin() as connection:
            result = connection.execute(text(sql), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    def one(self, sql: str, **parameters: Any) -> Any:
        """The only value of the only row."""
        ((value,),) = self.all(sql, **parameters)
        return value

    def new_tenant(self) -> UUID:
        tenant = uuid4()
        sql = "INSERT INTO tenants (id, name, subdomain, time_zone, created_at, updated_at) "
        sql += "VALUES (:id, 'Acme', :subdomain, 'UTC', '2026-01-01', '2026-01-01')"
        self.all(sql, id=tenant, subdomain=tenant.hex)
        return tenant

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that is stored, to see that something changed nothing."""
        with self.engine.begin() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table.name}"))), key=repr)
                for table in tables()
            }

    def registered(self) -> list[str]:
        """The ids of the registered keys, oldest first."""
        return [key_id for (key_id,) in self.all("SELECT id FROM encryption_keys ORDER BY generation")]

    def retired(self) -> set[str]:
        return {key_id for (key_id,) in self.all("SELECT id FROM retired_encryption_keys")}

    def clear(self) -> None:
        """Close what a test has opened, and remove what it stored."""
        self.close_apps()
        with self.engine.begin() as connection:
            for table in reversed(tables()):
                connection.execute(text(f"DELETE FROM {table.name}"))

    def close_apps(self) -> None:
        for app in self._apps:
            with app.app_context():
                db.session.remove()
                db.engine.dispose()
        self._apps.clear()


def tables() -> list[Any]:
    """The tables of the real models, in the order in which rows can be inserted."""
    return db.metadata.sorted_tables
