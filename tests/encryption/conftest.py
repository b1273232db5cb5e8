"""Both databases, each made once for a worker and emptied after each test."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from flask import Flask
from hypothesis import settings
from sqlalchemy.orm import Session

from app.encryption import AppEncryption
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import system_scope
from tests.encryption import models, reference
from tests.encryption.databases import DIALECTS, Database, new_engine, new_key

# The same examples in every run, and no clock: a busy machine must not make a test fail.
settings.register_profile("encryption", deadline=None, derandomize=True)
settings.load_profile("encryption")


@pytest.fixture(autouse=True)
def of_all_tenants():
    """The encryption knows nothing of tenants."""
    with system_scope():
        yield


@pytest.fixture
def keyring():
    """A primary key and one fallback, random."""
    return Keyring(MasterKey.parse(new_key()), [MasterKey.parse(new_key())])


@pytest.fixture(scope="session")
def new_database_url(postgres, tmp_path_factory):
    """Makes an empty database of the given dialect, and returns its URL."""
    names = []

    def make(dialect):
        if dialect == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('database')}/database.db"
        names.append(f"encryption_{uuid4().hex}")
        return postgres.create_database(names[-1])

    yield make
    for name in names:
        postgres.drop_database(name)


@pytest.fixture(scope="session", params=DIALECTS)
def migrated_database(request, new_database_url):
    database = Database(new_database_url(request.param))
    database.migrate()
    database.close_apps()
    yield database
    database.engine.dispose()


@pytest.fixture
def database(migrated_database):
    """The migrated schema without rows, on either database."""
    yield migrated_database
    migrated_database.clear()


@pytest.fixture
def app(database):
    """An app with a random primary key and a fallback, started, its context current."""
    app = database.start(new_key(), new_key())
    with app.app_context():
        yield app


@pytest.fixture
def session(app):
    return db.session


@pytest.fixture
def tenants(database):
    """The ids of two tenants: the owner, and somebody else."""
    return database.new_tenant(), database.new_tenant()


@pytest.fixture
def stored(database, app, session, tenants):
    """A phone system with a password, and none for its webhook, as committed and not loaded."""
    system = PhoneSystem(tenant_id=tenants[0], name="Reception", vendor="asterisk", password="s3cret")
    session.add(system)
    session.commit()
    found = Stored(database, app.extensions["encryption"].keyring, system.id)
    session.expunge_all()
    session.rollback()
    return found


@dataclass(frozen=True)
class Stored:
    """A phone system as the database has it, looked at from outside and opened by the written format."""

    database: Database
    keyring: Keyring
    id: UUID

    def at(self, id):
        """Another row."""
        return Stored(self.database, self.keyring, id)

    def column(self, name):
        return self.database.one(f"SELECT {name} FROM phone_systems WHERE id = :id", id=self.id)

    def tenant(self):
        return UUID(str(self.column("tenant_id")))

    def secret(self, attribute="password"):
        """The plaintext, or None. Fails unless it was sealed under the primary key for this place."""
        value = self.column(f"{attribute}_encrypted")
        if value is None:
            return None
        secret = self.keyring.secrets()[0]
        return reference.unseal(secret, f"phone_systems.{attribute}", self.tenant(), self.id, value).decode()


@pytest.fixture(scope="session", params=DIALECTS)
def odd_engine(request, new_database_url):
    engine = new_engine(new_database_url(request.param))
    models.Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def odd_session(odd_engine, keyring):
    """A session for the models of tests/encryption/models.py, in a small app that has nothing but the keyring."""
    app = Flask("odd")
    app.extensions["encryption"] = AppEncryption(keyring, models.registry)
    with app.app_context(), Session(odd_engine) as session:
        app.extensions["encryption"].check_and_register(odd_engine)
        yield session
    with odd_engine.begin() as connection:
        for table in reversed(models.Base.metadata.sorted_tables):
            connection.execute(table.delete())
