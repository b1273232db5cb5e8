"""A database with secrets in it, and the ledger of what was acknowledged to its writers: faults are judged by it.

Values are opened here by the published recipe alone and not by the code under test.
"""

import base64
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from flask import Flask
from sqlalchemy import NullPool, create_engine, select, text
from sqlalchemy.orm import Session

from app import create_app
from app.config import load_settings
from app.credentials.models import ApiCredential
from app.encryption.keyring import Keyring, MasterKey
from app.encryption.registry import KeyRegistry
from app.encryption.rotation import Result, Rotation
from app.extensions import db, encryption
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant

OLD, NEW, THIRD = (Fernet.generate_key().decode() for _ in range(3))
JWT_SECRET_KEY = secrets.token_urlsafe(48)

SECRETS: dict[type, tuple[str, ...]] = {
    PhoneSystem: ("password", "webhook_password", "previous_webhook_password"),
    PaymentAccount: ("client_secret",),
    ApiCredential: ("secret",),
}
# Those that a new world has values in.
COLUMNS = [
    f"{model.__tablename__}.{attribute}"
    for model, attributes in SECRETS.items()
    for attribute in attributes
    if attribute != "previous_webhook_password"
]

TEXTS = (
    "correct horse battery staple",
    None,
    "",
    "🔑 and 👩‍👩‍👧",
    "before\0after",
    "סיסמה وكلمة السر",
    "-----BEGIN PRIVATE KEY-----\r\nMIIE\t'\"\\%s:;{}\n",
)


class Row(NamedTuple):
    """What a row was acknowledged to hold: its plaintexts, and all columns that have nothing to do with keys."""

    plaintexts: dict[str, str | None]
    others: dict[str, Any]


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, f"one line of JSON was expected, not {self.out!r}"
        return json.loads(self.out)


class World:
    """One migrated database. Where keys are taken, the first one is the primary."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        # Marked, so that points() can tell the statements of a test from those of a rotation.
        patience: dict[str, Any] = {"connect_args": {"timeout": 60}} if self.is_sqlite else {}
        self.engine = create_engine(url, poolclass=NullPool, **patience).execution_options(bystander=True)
        self.ledger: dict[tuple[str, UUID], Row] = {}
        self.apps: dict[tuple[Any, ...], Flask] = {}

    @property
    def registry(self) -> KeyRegistry:
        return encryption.registry

    # What processes of the service do

    @contextmanager
    def process(self, *keys: str) -> Iterator[Session]:
        """A session of a process that has these keys. Nothing expires, so that reading an object asks no database."""
        with service(keys).app_context(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    def start(self, *keys: str) -> None:
        """The check that a process makes when it starts."""
        self.registry.check_and_register(self.engine, keyring(keys))

    def commit(self, session: Session, *objects: Any) -> None:
        """Commit new or changed objects; only then are they acknowledged."""
        session.add_all(objects)
        session.commit()
        for written in objects:
            self.ledger[written.__tablename__, written.id] = _as_written(written)

    def delete(self, session: Session, *objects: Any) -> None:
        for unwanted in objects:
            session.delete(unwanted)
        session.commit()
        for unwanted in objects:
            del self.ledger[unwanted.__tablename__, unwanted.id]

    def fill(self, rows: int = 7, texts: Iterable[str | None] = TEXTS, key: str = OLD) -> "World":
        """Two tenants with ``rows`` phone systems, payment accounts and API credentials that hold ``texts``."""
        self.start(key)
        wanted = list(texts)
        with self.process(key) as session:
            tenants = [Tenant(name=name, subdomain=name.lower(), time_zone="UTC") for name in ("Alice", "Bob")]
            self.commit(session, *tenants)
            made: list[Any] = []
            for n in range(rows):
                owner = {"tenant_id": tenants[n % 2].id}
                one, other = wanted[n % len(wanted)], wanted[(n + 1) % len(wanted)]
                made += [
                    phone_system(**owner, name=f"PBX {n}", password=one, webhook_password=other),
                    PaymentAccount(**owner, provider="paypal", mode="live", client_secret=one),
                    ApiCredential(**owner, name=f"Key {n}", provider="twilio", secret=other),
                ]
            self.commit(session, *made)
        return self

    # The command

    def rotation(self, *keys: str, **options: Any) -> Rotation:
        return Rotation(self.url, self.registry, keyring(keys), **options)

    def rotate(self, *keys: str, **options: Any) -> Result:
        rotation = self.rotation(*keys, **options)
        rotation.check()
        return rotation.run()

    def environment(self, *keys: str, **further: str) -> dict[str, str]:
        """The variables of a process of the service. All are set, so that no file on this machine adds its own."""
        return {
            "APP_ENV": "development",
            "JWT_SECRET_KEY": JWT_SECRET_KEY,
            "ENCRYPTION_KEY": keys[0],
            "ENCRYPTION_KEY_FALLBACKS": ",".join(keys[1:]),
            "DATABASE_URL": self.url,
            "ROTATION_DATABASE_URL": self.url,
            **further,
        }

    def flask(self, *command: str, keys: tuple[str, ...] = (NEW, OLD), stdin: str = "", **further: str) -> Outcome:
        """Run a command in this process."""
        configured = (keys, *further.items())
        if configured not in self.apps:
            self.apps[configured] = create_app(load_settings(self.environment(*keys, **further), env_file=None))
        app = self.apps[configured]
        with app.app_context():
            result = app.test_cli_runner().invoke(args=command, input=stdin)
            db.engine.dispose()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def settle(self) -> None:
        """Wait until PostgreSQL has noticed which of its clients are gone: until then it keeps their locks."""
        wait_until(lambda: self.is_sqlite or self.sql(AT_WORK) == [(0,)])

    # What is in the database

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    def stored(self) -> dict[tuple[str, UUID, str], str | None]:
        """Every sealed value as it is."""
        return {
            (table, row_id, column.removesuffix("_encrypted")): value
            for table, row_id, row in self._rows()
            for column, value in row.items()
            if column.endswith("_encrypted")
        }

    def put_back(self, stored: Mapping[tuple[str, UUID, str], str | None]) -> None:
        """Restore sealed values, and nothing else."""
        with self.engine.begin() as connection:
            for (table, row_id, attribute), value in stored.items():
                statement = text(f"UPDATE {table} SET {attribute}_encrypted = :value WHERE id = :id")
                connection.execute(statement, {"value": value, "id": row_id.hex if self.is_sqlite else row_id})

    def corrupt(self, table: str, attribute: str, row_id: UUID, value: str | bytes) -> None:
        """Put in place what the database would refuse, as a broken disk or somebody with too many rights might."""
        if self.is_sqlite:
            assert self.engine.url.database is not None
            with closing(sqlite3.connect(self.engine.url.database)) as connection, connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                new = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
                connection.execute(
                    f"UPDATE {table} SET {attribute}_encrypted = {new} WHERE id = ?", (value, row_id.hex)
                )
            return
        self.sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_{attribute}_sealed")
        self.sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS fk_{table}_{attribute}_key_id")
        self.sql(f"UPDATE {table} SET {attribute}_encrypted = :value WHERE id = :id", value=value, id=row_id)

    def key_ids(self) -> set[str]:
        return {value.split(":")[1] for value in self.stored().values() if value is not None}

    def is_clean(self) -> bool:
        """Whether every value is under the new key."""
        return self.key_ids() == {key_id(NEW)}

    def check(self, *keys: str) -> None:
        """Every row is there and holds what was last acknowledged, opened with ``keys``; no other row is."""
        found = {
            (table, row_id): Row(
                {
                    column.removesuffix("_encrypted"): opened(keys, table, row_id, column, row)
                    for column in row
                    if column.endswith("_encrypted")
                },
                {column: value for column, value in row.items() if not column.endswith(("_encrypted", "_key_id"))},
            )
            for table, row_id, row in self._rows()
        }
        assert found.keys() == self.ledger.keys()
        wrong = {place: (found[place], row) for place, row in self.ledger.items() if found[place] != row}
        assert not wrong

    def _rows(self) -> Iterator[tuple[str, UUID, dict[str, Any]]]:
        with self.engine.connect() as connection:
            for model in (Tenant, *SECRETS):
                table = db.metadata.tables[model.__tablename__]
                for row in connection.execute(select(table)).mappings():
                    yield table.name, row["id"], dict(row)


AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND (state <> 'idle' OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory'))
"""


def assert_survived(world: World, *keys: str) -> None:
    """The oracle for every fault: nothing acknowledged was lost, nothing else changed, and the work can be finished.

    ``keys`` are those deployed, the primary one first.
    """
    world.settle()
    world.check(*keys)
    again = world.rotate(*keys)
    assert (again.remaining, again.unreadable, again.still_written) == (0, 0, [])
    assert again.proved == sum(value is not None for value in world.stored().values())
    world.check(keys[0])
    before = world.stored()
    assert world.rotate(*keys).rotated == 0
    assert world.stored() == before


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def key_id(key: str) -> str:
    return _expand(key, "audiapro/key-id")[:4].hex()


def seal(key: str, table: str, attribute: str, owner: UUID, row_id: UUID, plaintext: str) -> str:
    """A value as any process with that key could have stored it."""
    token = _fernet(key, f"{table}.{attribute}", owner, row_id).encrypt(plaintext.encode())
    return f"v1:{key_id(key)}:{token.decode()}"


def opened(keys: Iterable[str], table: str, row_id: UUID, column: str, row: Mapping[str, Any]) -> str | None:
    """The plaintext of a row's value under whichever of ``keys`` it names."""
    if row[column] is None:
        return None
    attribute = column.removesuffix("_encrypted")
    version, used, token = row[column].split(":")
    assert version == "v1"
    assert row[f"{attribute}_key_id"] == used
    key = next((key for key in keys if key_id(key) == used), None)
    assert key is not None, f"{table}.{attribute} of row {row_id} is under key {used}"
    try:
        return _fernet(key, f"{table}.{attribute}", row["tenant_id"], row_id).decrypt(token.encode()).decode()
    except InvalidToken:
        raise AssertionError(f"{table}.{attribute} of row {row_id} does not open") from None


@cache
def _expand(key: str, info: str) -> bytes:
    return HKDFExpand(SHA256(), 32, info.encode()).derive(base64.urlsafe_b64decode(key))


@cache
def _fernet(key: str, column: str, owner: UUID, row_id: UUID) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_expand(key, f"audiapro/v1|{column}|{owner}|{row_id}")))


def keyring(keys: Iterable[str]) -> Keyring:
    primary, *fallbacks = (MasterKey.parse(key) for key in keys)
    return Keyring(primary, fallbacks)


@cache
def service(keys: tuple[str, ...]) -> Flask:
    """An app that has what models need to seal and open."""
    app = Flask(__name__)
    encryption.init_app(app, keyring(keys))
    return app


def phone_system(tenant_id: UUID, **columns: Any) -> PhoneSystem:
    return PhoneSystem(
        tenant_id=tenant_id,
        **{"vendor": "asterisk", "base_url": None, "username": None, "webhook_username": None, "time_zone": None}
        | {"name": "PBX"}
        | columns,
    )


def _as_written(written: Any) -> Row:
    plaintexts = {attribute: getattr(written, attribute) for attribute in SECRETS.get(type(written), ())}
    columns = [column.name for column in written.__table__.columns]
    kept = [column for column in columns if not column.endswith(("_encrypted", "_key_id"))]
    return Row(plaintexts, {column: getattr(written, column) for column in kept})
