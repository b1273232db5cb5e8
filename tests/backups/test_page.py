"""docs/backup.md: its lines for the shell, run as they are printed, from the backup to everything being there again."""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select, text

from app.database import now
from app.demonstration import create_demonstration
from app.encryption.keyring import Keyring, MasterKey
from app.encryption.registry import KeyRefused
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import tenant_scope
from tests.backups.conftest import new_key
from tests.conftest import in_database, make_settings, migrate, running
from tests.encryption.databases import ROOT
from tests.encryption.test_recovery import follow_recipe
from tests.servers import PostgresClient
from tests.servers.age import provide_age
from tests.servers.postgres import postgres_programs

PAGE = (ROOT / "docs/backup.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)
}
NAMES = ("audiapro", "audiapro_web_audiapro")  # as the page has them: of the login and of the database; of the web role
PASSWORD = secrets.token_urlsafe(16)
SECRETS = ["hunter2", "tab\tand ü"]


class Operator:
    """Somebody who follows the page, with folders of their own, and the keys of the day."""

    def __init__(self, folder: Path, database_url: str, server: PostgresClient | None = None) -> None:
        self.folder, self.backups = folder, folder / "backups"
        self.backups.mkdir()
        self.database = folder / "audiapro.db"
        self.environment = {
            "PATH": f"{postgres_programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "BACKUPS": str(self.backups),
            "BACKUP_KEY": str(folder / "backup-key.txt"),
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "APP_ENV": "development",
            "DATABASE_URL": database_url,
        }
        if server is not None:
            self._sign_in_to(server.url())

    def _sign_in_to(self, url: str) -> None:
        administrator, host, port = re.fullmatch(r"postgresql://postgres:(.+)@(.+):(\d+)/.*", url).groups()
        passwords = self.folder / ".pgpass"
        passwords.touch(0o600)
        lines = [f"{host}:{port}:*:{login}\n" for login in (f"postgres:{administrator}", f"audiapro:{PASSWORD}")]
        passwords.write_text("".join(lines))
        self.environment |= {"PGHOST": host, "PGPORT": port, "PGPASSFILE": str(passwords)}

    def configure(self, primary: MasterKey, *fallbacks: MasterKey) -> None:
        self.environment["ENCRYPTION_KEY"] = primary._secret.hex()
        self.environment["ENCRYPTION_KEY_FALLBACKS"] = ",".join(key._secret.hex() for key in fallbacks)

    def follow(self, section: str, number: int = 0, status: int = 0, typed: str = "", **names: str) -> str:
        """Run a block of the page, with what the reader fills in. Returns what it says."""
        block = SECTIONS[section][number]
        block = block.replace("BACKUPS=/var/backups/audiapro", f"BACKUPS='{self.backups}'")
        block = block.replace("db.example.com", self.environment.get("PGHOST", "")).replace("'…'", f"'{PASSWORD}'")
        block = block.replace("instance/audiapro.db", str(self.database))
        for name, value in names.items():
            block = block.replace(name, value)
        done = subprocess.run(
            ["bash", "-c", block],
            cwd=ROOT,
            env=self.environment,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def back_up(self, section: str, suffix: str) -> Path:
        """The new backup. One that is too old is gone then, and one that is not, is not."""
        old, recent = (self.backups / f"audiapro-20200101T0{hour}0000Z{suffix}" for hour in (1, 2))
        for path, days in ((old, 37), (recent, 34)):
            path.touch()
            os.utime(path, (time.time() - days * 86_400,) * 2)
        self.follow(section)
        *others, made = sorted(self.backups.glob("*.age"))
        assert others == [recent]
        assert made.stat().st_mode & 0o777 == 0o600
        assert made.read_bytes().startswith(b"age-encryption.org/v1")
        assert {path.name for path in self.backups.iterdir()} == {recent.name, made.name, "recipient.txt"}
        return made


def service(url: str, primary: MasterKey, *fallbacks: MasterKey):
    return running(make_settings(url, keyring=Keyring(primary, fallbacks)))


def start(app) -> None:
    with in_database(app):
        app.extensions["encryption"].check_and_register(db.engine)


def fill(app) -> None:
    """The demonstration; a second phone system with secrets."""
    with in_database(app):
        create_demonstration(db.session(), now())
        first = db.session.scalars(select(PhoneSystem)).one()
        values = dict(zip(("password", "webhook_password"), SECRETS, strict=True))
        db.session.add(PhoneSystem(tenant_id=first.tenant_id, name="PBX", vendor="asterisk", **values))
        db.session.commit()


def stored(app) -> dict[str, list]:
    """Every row of what a tenant has, and the secrets in the clear."""
    with in_database(app):
        tables = ("tenants", "users", "memberships", "calls", "audit_events", "phone_systems")
        sizes = [db.session.execute(text(f"SELECT count(*) FROM {table}")).scalar() for table in tables]
        found = db.session.scalars(select(PhoneSystem).order_by(PhoneSystem.id)).all()
        return {"rows": sizes[:4], "secrets": [(row.password, row.webhook_password) for row in found]}


def run(app, *command: str) -> str:
    result = app.test_cli_runner().invoke(args=command)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", autouse=True)
def age() -> None:
    provide_age()


@pytest.fixture
def administrator(postgres: PostgresClient) -> Iterator[psycopg.Connection]:
    """Of the cluster, who leaves nothing of the page's names there."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection
        lose_server(connection)


def lose_server(administrator: psycopg.Connection) -> None:
    login, web_role = map(sql.Identifier, NAMES)
    administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(login))
    for role in (web_role, login):
        administrator.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))


@pytest.mark.timeout(300)
def test_a_lost_server_comes_back_from_a_backup_of_before_a_rotation(
    postgres: PostgresClient, administrator: psycopg.Connection, tmp_path: Path
):
    old, new = new_key(), new_key()
    url = re.sub(r"postgres:.+@", f"audiapro:{PASSWORD}@", postgres.url("audiapro"))
    url = url.replace("postgresql://", "postgresql+psycopg://")
    operator = Operator(tmp_path, url.replace("+psycopg", ""), postgres)
    operator.follow("Encrypted at rest")
    operator.follow("Restoring, PostgreSQL")  # also how one begins
    migrate(url)
    with service(url, old) as app:
        start(app)
        fill(app)
        before = stored(app)
    assert before["secrets"][1] == tuple(SECRETS)
    made = operator.back_up("Every night, PostgreSQL", ".dump.age")

    with service(url, new, old) as app:
        start(app)
        run(app, "rotate-encryption-key")
        run(app, "encryption", "retire", old.id)
    lose_server(administrator)

    operator.configure(new)
    assert f"Key {old.id} is not configured, and 3 values need it" in operator.follow("Checking a backup", status=1)
    operator.configure(new, old)
    assert "This backup can be used." in operator.follow("Checking a backup")
    operator.follow("Restoring, PostgreSQL", 0)
    operator.follow("Restoring, PostgreSQL", 1)
    assert "3 values opened, 0 did not." in operator.follow("After a restore", 0)

    with service(url, new, old) as app:
        start(app)
        assert stored(app) == before
        assert app.test_client().get("/readyz").json["checks"]["tenant_isolation"] == "ok"
        with app.app_context(), db.engine.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == NAMES[1]
            assert connection.scalar(text("SELECT count(*) FROM phone_systems")) == 0
        with in_database(app):
            tenant = db.session.scalars(select(PhoneSystem.tenant_id)).first()
        with app.app_context(), tenant_scope(tenant), db.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM phone_systems")) == 2
    operator.follow("After a restore", 1, OLD_ID=old.id)
    with service(url, new) as app:
        start(app)
        assert stored(app) == before
        assert run(app, "encryption", "verify") == "3 values opened, 0 did not.\n"

    # And with nothing of ours.
    operator.environment["newest"] = str(made)
    head, *rows = re.search(r"^COPY .*?^\\\.", operator.follow("The service is lost"), re.MULTILINE | re.DOTALL)[
        0
    ].splitlines()[:-1]
    names = re.search(r"\((.*)\)", head)[1].split(", ")
    lines = []
    for row in rows:
        values = dict(zip(names, row.split("\t"), strict=True))
        for attribute in ("password", "webhook_password"):
            if (value := values[f"{attribute}_encrypted"]) != r"\N":
                lines.append("\t".join([f"phone_systems.{attribute}", values["tenant_id"], values["id"], value]))
    found = follow_recipe(tmp_path, old._secret.hex(), lines)
    assert found.returncode == 0, found.stderr
    recovered = [line.split("\t", 2)[2] for line in found.stdout.splitlines()]
    assert sorted(recovered) == sorted(secret for pair in before["secrets"] for secret in pair if secret is not None)


@pytest.mark.timeout(300)
def test_an_sqlite_database_comes_back_with_a_key_that_is_retired_in_it(migrated_sqlite: Path, tmp_path: Path):
    first, second = new_key(), new_key()
    operator = Operator(tmp_path, f"sqlite:///{tmp_path / 'audiapro.db'}")
    operator.database.write_bytes(migrated_sqlite.read_bytes())
    url = operator.environment["DATABASE_URL"]
    operator.follow("Encrypted at rest")
    with service(url, first) as app:
        start(app)
        fill(app)
        before = stored(app)
    with service(url, second, first) as app:
        start(app)
        run(app, "rotate-encryption-key")
        run(app, "encryption", "retire", first.id)
        operator.back_up("Every night, SQLite", ".db.age")  # while the service is at work
        with in_database(app):
            db.session.execute(text("DELETE FROM calls"))
            db.session.commit()
            damage = stored(app)
    assert damage != before

    operator.configure(first, second)  # an old configuration is all there is
    assert f"`flask encryption reinstate {first.id}`" in operator.follow("Checking a backup")
    operator.follow("Restoring, SQLite")
    assert "3 values opened, 0 did not." in operator.follow("After a restore", 0)
    with service(url, first, second) as app:
        with pytest.raises(KeyRefused, match=f"flask encryption reinstate {first.id}"):
            start(app)
        operator.follow("After a restore", 2, KEY_ID=first.id)
        start(app)
        assert stored(app) == before
        run(app, "rotate-encryption-key")
        run(app, "encryption", "retire", second.id)
    with service(url, first) as app:
        start(app)
        assert stored(app) == before
    operator.configure(second)  # only what is typed counts
    for key, status, said in (
        (first._secret.hex(), 0, "3 values opened, 0 did not."),
        (second._secret.hex(), 1, "0 values opened, 3 did not."),
        (first._secret.hex()[1:], 78, "ENCRYPTION_KEY"),
    ):
        told = operator.follow("Checking the copy of the key", 0, status, typed=f"{key}\n")
        assert said in told
        assert key not in told

    # And if that key is lost: what it sealed is given up, and nothing else.
    with service(url, new_key()) as app:
        with pytest.raises(KeyRefused, match=f"flask encryption forget {first.id}"):
            start(app)
        (command,) = SECTIONS["The key is lost"]
        forget = command.replace("LOST_ID", first.id).split()[1:]
        told = app.test_cli_runner().invoke(args=forget, input=f"{first.id}\n")
        assert told.exit_code == 0, told.output
        assert len(re.findall(r"^tenant \S+ table phone_systems column \S+ row \S+$", told.stdout, re.MULTILINE)) == 3
        start(app)
        assert stored(app) == before | {"secrets": [(None, None), (None, None)]}


def test_a_backup_that_fails_halfway_leaves_the_old_ones(tmp_path: Path):
    """No database server: neither is anything removed, nor is there a new file that looks like a backup."""
    operator = Operator(tmp_path, f"sqlite:///{tmp_path}/none.db")
    operator.follow("Encrypted at rest")
    old = operator.backups / "audiapro-20200101T000000Z.dump.age"
    old.touch()
    os.utime(old, (0, 0))
    operator.environment |= {"PGHOST": "127.0.0.1", "PGPORT": "1"}
    operator.follow("Every night, PostgreSQL", status=1)
    operator.follow("Every night, SQLite", status=1)
    assert list(operator.backups.glob("*.age")) == [old]


def test_an_encrypted_backup_that_was_cut_off_is_no_backup(dumps, tmp_path: Path):
    operator = Operator(tmp_path, f"sqlite:///{tmp_path}/none.db")
    operator.configure(dumps.sample.new, dumps.sample.old)
    operator.follow("Encrypted at rest")
    file = operator.backups / "audiapro-20260101T000000Z.dump.age"
    command = ["age", "--recipients-file", str(operator.backups / "recipient.txt"), "--output", str(file)]
    subprocess.run(command, input=dumps.make("-Fc", "--compress=0"), check=True)
    file.write_bytes(file.read_bytes()[:-20])
    assert "This backup cannot be used as it is." in operator.follow("Checking a backup", status=1)
