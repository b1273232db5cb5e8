"""A database with a value in every encrypted column, under an old and under a new key, and its backups."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from apiflask import APIFlask
from click.testing import Result

from app import create_app
from app.api_keys.models import ApiKey
from app.audit import service as audit
from app.audit.models import AuditSeal
from app.credentials.models import ApiCredential
from app.database import now
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity.models import Membership, Role, User
from app.mail.models import Mail
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem, UnreadableDelivery
from app.tenants.models import Tenant
from tests.conftest import in_database, make_settings, migrate, running
from tests.servers import PostgresClient
from tests.servers.postgres import postgres_programs

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
# What COPY escapes and what INSERT doubles, and what looks like the end of either.
ODD = "tab\t, newline\n\\.\n');\nINSERT INTO public.users VALUES (1);\r\n\\N \\t it's \"quoted\" E'\\'' ä 🔑"
LONG = "x" * 1_500_000


def new_key() -> MasterKey:
    return MasterKey(secrets.token_bytes(32))


@dataclass
class Sample:
    """Two tenants. ``old`` has 2 values, ``new`` has ``values - 2``; a third key is retired."""

    url: str
    old: MasterKey = field(default_factory=new_key)
    new: MasterKey = field(default_factory=new_key)
    retired: str = "0123abcd"
    values: int = 13

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def fill(self) -> None:
        with running(make_settings(self.url, keyring=Keyring(self.old))) as app, in_database(app):
            registry = app.extensions["encryption"]
            registry.check_and_register(db.engine)
            tenants = [Tenant(name=name, subdomain=name) for name in ("acme", "others")]
            db.session.add_all(tenants)
            db.session.flush()
            db.session.add(phone_system(tenants[0], password="a", webhook_password=""))
            db.session.commit()
            ids = [tenant.id for tenant in tenants]
        with running(make_settings(self.url, keyring=Keyring(self.new, [self.old]))) as app, in_database(app):
            app.extensions["encryption"].check_and_register(db.engine)
            tenants = [db.session.get(Tenant, id) for id in ids]
            user = User(email="alice@acme.example", password_hash="none", totp_secret="b", recovery_code_hashes=["c"])
            other = phone_system(tenants[1], password=LONG, webhook_password=ODD, previous_webhook_password="d")
            db.session.add(other)
            db.session.flush()
            delivery = UnreadableDelivery(tenant_id=ids[1], phone_system_id=other.id, reason=ODD)
            delivery.content = {"body": ODD, "cut": False, "errors": []}
            db.session.add_all(
                [
                    user,
                    delivery,
                    Membership(user=user, tenant=tenants[0], role=Role.OWNER),
                    PaymentAccount(tenant_id=ids[1], provider="paypal", mode="live", client_secret="e"),
                    ApiCredential(tenant_id=ids[0], name=ODD, provider="maps", secret="f"),
                    ApiKey(tenant_id=ids[0], name="k", role="admin", prefix="p", token_hash="g", created_by=user.email),
                    Mail(kind="k", content={"text": ODD}, expires_at=now() + timedelta(days=1)),
                    AuditSeal(number=1, sealed_at=now(), content={"digest": "h"}),
                ]
            )
            db.session.flush()
            registry = app.extensions["encryption"].registry
            db.session.execute(registry.retired.insert().values(id=self.retired, retired_at=now()))
            audit.record(db.session(), "tenant.created", details={"name": ODD}, tenant_id=ids[0])
            db.session.commit()


def phone_system(tenant: Tenant, **secrets: str) -> PhoneSystem:
    return PhoneSystem(tenant_id=tenant.id, name=ODD.replace("\n", " "), vendor="asterisk", username=ODD, **secrets)


@dataclass
class Dumps:
    """Dumps of the sample by PostgreSQL's own programs."""

    sample: Sample
    client: PostgresClient
    environment: dict[str, str]

    def make(self, *options: str) -> bytes:
        return subprocess.run(["pg_dump", *options], env=self.environment, check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="session")
def dumps(postgres: PostgresClient) -> Iterator[Dumps]:
    name = f"backups_{uuid4().hex}"
    url = postgres.create_database(name)
    sample = Sample(migrate(url.replace("postgresql://", "postgresql+psycopg://")))
    sample.fill()
    dumps = Dumps(sample, postgres, pg_environment(url))
    dumps.make = cache(dumps.make)  # type: ignore[method-assign]
    yield dumps
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def sqlite_sample(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, Path]:
    path = tmp_path_factory.mktemp("sample") / "audiapro.db"
    shutil.copy(migrated_sqlite, path)
    sample = Sample(f"sqlite:///{path}")
    sample.fill()
    return sample, path


def pg_environment(url: str) -> dict[str, str]:
    """For PostgreSQL's own programs, which are the first on the PATH."""
    login, _, place = url.partition("//")[2].partition("@")
    user, _, password = login.partition(":")
    address, _, database = place.partition("/")
    host, _, port = address.partition(":")
    return {
        "PATH": f"{postgres_programs()}:{os.environ['PATH']}",
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": database,
    }


@pytest.fixture
def pg_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{postgres_programs()}:{os.environ['PATH']}")


@pytest.fixture
def check(pg_programs: None) -> Any:
    """Run the command with these keys and no database. Gives what it says as JSON; in ``result``, how it ended."""

    def check(keys: tuple[MasterKey, ...], file: Path | str, stdin: bytes | None = None) -> dict[str, Any]:
        result = run(app_with(*keys), str(file), "--json", stdin=stdin)
        found: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (0 if found["usable"] else 1)
        assert (found["usable"], found["problems"], found["unreadable"]) == (True, [], 0) or not found["usable"]
        return found

    return check


@cache
def app_with(primary: MasterKey, *fallbacks: MasterKey) -> APIFlask:
    return create_app(make_settings(NOWHERE, keyring=Keyring(primary, fallbacks)))


def run(app: APIFlask, *arguments: str, stdin: bytes | None = None) -> Result:
    result = app.test_cli_runner().invoke(args=["backup", "check", *arguments], input=stdin)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert not [text for text in (LONG[:100], "hunter2") if text in result.output]
    return result
