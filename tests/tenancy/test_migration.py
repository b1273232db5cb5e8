"""The migration that makes the floor, as logins of PostgreSQL make it that may more or less; and whom it lets in."""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import flask_migrate
import psycopg
import pytest
from alembic.script import ScriptDirectory
from apiflask import APIFlask
from psycopg import sql
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import FLOOR_MISSING, ScopeError, enter_tenant_scope, system_scope, tenant_scope
from app.tenants.models import Tenant
from tests.conftest import in_database, make_settings, running
from tests.servers import PostgresClient

PASSWORD = "unguessed"
COUNT = text("SELECT count(*) FROM phone_systems")
ROOT = Path(__file__).parents[2]


class Cluster:
    """The run's PostgreSQL as its administrator sees it. What is made here has names of its own."""

    def __init__(self, client: PostgresClient) -> None:
        self.client = client
        self.databases: list[str] = []
        self.roles: list[str] = []

    def do(self, statement: str, *names: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.client.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
            return cursor.fetchall() if cursor.description else []

    def login(self, rights: str = "") -> str:
        name = f"login_{secrets.token_hex(8)}"
        self.roles.append(name)
        self.do(f"CREATE ROLE {{}} LOGIN {rights} PASSWORD '{PASSWORD}'", name)
        return name

    def database(self, owner: str, name: str = "") -> str:
        """A database of that owner; its URL for that login."""
        name = name or f"tenancy_{uuid4().hex}"
        self.databases.append(name)
        self.do("CREATE DATABASE {} OWNER {}", name, owner)
        return self.url(owner, name)

    def url(self, login: str, database: str) -> str:
        return self.client.url(quote(database)).replace("//postgres:", f"//{login}:").replace(self._password, PASSWORD)

    @property
    def _password(self) -> str:
        return self.client.url().split(":")[2].partition("@")[0]

    def close(self) -> None:
        for name in self.databases:
            self.client.drop_database(name)
            self.do("DROP ROLE IF EXISTS {}", role_of(name))
        for name in self.roles:
            self.do("DROP ROLE {}", name)


def role_of(database: str) -> str:
    name = database if len(database) <= 50 else md5(database.encode(), usedforsecurity=False).hexdigest()
    return f"audiapro_web_{name}"


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.fixture
def cluster(postgres: PostgresClient) -> Iterator[Cluster]:
    with closing(Cluster(postgres)) as cluster:
        yield cluster


def settings_for(url: str, **changes: Any) -> Settings:
    return make_settings(url.replace("postgresql://", "postgresql+psycopg://"), **changes)


@contextmanager
def started(url: str, **changes: Any) -> Iterator[APIFlask]:
    """The application on that database, migrated."""
    with running(settings_for(url, **changes)) as app:
        with app.app_context():
            flask_migrate.upgrade()
        with in_database(app):
            app.extensions["encryption"].check_and_register(db.engine)
        yield app


def fill(app: APIFlask) -> list[Tenant]:
    with in_database(app):
        tenants = [Tenant(name=name, subdomain=name) for name in ("acme", "others")]
        db.session.add_all(tenants)
        db.session.flush()
        for tenant in tenants:
            db.session.add(PhoneSystem(tenant_id=tenant.id, name="PBX", vendor="asterisk", password="s3cret"))
        db.session.commit()
    return tenants


def isolation(app: APIFlask) -> tuple[int, str]:
    answer = app.test_client().get("/readyz")
    return answer.status_code, answer.json["checks"]["tenant_isolation"]


def assert_floor(app: APIFlask) -> None:
    ours, _ = fill(app)
    assert isolation(app) == (200, "ok")
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(COUNT) == 0
        with tenant_scope(ours.id):
            assert connection.scalar(COUNT) == 1
        with system_scope():
            assert connection.scalar(COUNT) == 2


@pytest.mark.parametrize("prefix", ["tenancy_", 'Odd "name"-', "a_name_that_is_too_long_to_be_in_a_roles_"])
def test_an_owner_who_may_make_roles_gets_the_floor(cluster, prefix):
    database = prefix + secrets.token_hex(8)
    with started(cluster.database(cluster.login("CREATEROLE"), database)) as app:
        assert_floor(app)
    rights = f"SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = '{role_of(database)}'"
    assert cluster.do(rights) == [(False, False, False)]


def test_where_roles_cannot_be_made_the_migration_says_so_and_the_rest_holds(cluster, capsys):
    with started(cluster.database(cluster.login())) as app:
        assert "may not make the role audiapro_web_tenancy_" in " ".join(capsys.readouterr().err.split())
        ours, _ = fill(app)
        assert isolation(app) == (200, FLOOR_MISSING)
        with app.app_context():
            with pytest.raises(ScopeError):
                db.session.scalars(select(PhoneSystem)).all()
            with tenant_scope(ours.id):
                assert [row.tenant_id for row in db.session.scalars(select(PhoneSystem))] == [ours.id]
            assert db.session.scalar(COUNT) == 2  # that is what is missing


def documented(number: int, login: str, database: str) -> str:
    """The SQL of docs/security.md for this database."""
    found = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)[number]
    names = {"audiapro_web_NAME": role_of(database), "LOGIN": login, "NAME": database}
    return re.sub(r'"([A-Za-z_]+)"', lambda name: f'"{names[name[1]]}"', found)


def test_a_role_that_somebody_with_more_rights_made_before_is_used(cluster):
    login = cluster.login()
    url = cluster.database(login)
    cluster.do(documented(0, login, name_of(url)))
    with started(url) as app:
        assert_floor(app)


def test_a_role_that_is_made_afterwards_is_used_as_soon_as_it_is_granted_what_it_needs(cluster):
    login = cluster.login()
    url = cluster.database(login)
    with started(url) as app:
        assert isolation(app) == (200, FLOOR_MISSING)
        for number in range(2):
            cluster.do(documented(number, login, name_of(url)), database=name_of(url))
        assert_floor(app)
        assert privileges(cluster, name_of(url)) == privileges_after_migration(cluster)


def test_a_role_that_is_taken_away_fails_one_transaction_and_is_asked_for_again(cluster):
    login = cluster.login()
    url = cluster.database(login)
    cluster.do(documented(0, login, name_of(url)))
    with started(url) as app:
        assert_floor(app)
        cluster.do("REVOKE {} FROM {}", role_of(name_of(url)), login)
        with app.app_context(), db.engine.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
            connection.scalar(COUNT)
        assert isolation(app) == (200, FLOOR_MISSING)
        cluster.do("GRANT {} TO {}", role_of(name_of(url)), login)
        assert isolation(app) == (200, "ok")


def test_a_type_that_is_changed_beside_live_traffic_costs_one_503_for_each_connection(cluster):
    """PostgreSQL does not run a statement that was prepared for columns of other types."""
    url = cluster.database(cluster.login("CREATEROLE"))
    with started(url) as app:
        ours, _ = fill(app)

        @app.get("/names")
        def names() -> dict[str, list[str]]:
            enter_tenant_scope(ours.id)
            return {"items": list(db.session.scalars(select(PhoneSystem.name)))}

        client = app.test_client()
        assert {client.get("/names").status_code for _ in range(8)} == {200}
        cluster.do("ALTER TABLE phone_systems ALTER name TYPE varchar(500)", database=name_of(url))
        refused = client.get("/names")
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert client.get("/names").json == {"items": ["PBX"]}


def privileges(cluster: Cluster, database: str) -> set[tuple[Any, ...]]:
    """Of whole tables, and of single columns."""
    given = "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
    single = "SELECT attrelid::regclass || '.' || attname, privilege_type FROM pg_attribute, aclexplode(attacl)"
    return {
        *cluster.do(f"{given} WHERE grantee = '{role_of(database)}'", database=database),
        *cluster.do(f"{single} WHERE pg_get_userbyid(grantee) = '{role_of(database)}'", database=database),
    }


def privileges_after_migration(cluster: Cluster) -> set[tuple[Any, ...]]:
    url = cluster.database(cluster.login("CREATEROLE"))
    with started(url):
        return privileges(cluster, name_of(url))


def connect(url: str) -> None:
    psycopg.connect(url).close()


def test_two_databases_of_a_cluster_do_not_let_each_others_owners_in(cluster):
    owners = [cluster.login("CREATEROLE") for _ in range(2)]
    urls = [cluster.database(owner) for owner in owners]
    stranger = cluster.login()
    connect(cluster.url(stranger, name_of(urls[0])))
    with started(urls[0]), started(urls[1]):
        for owner, url in zip(owners, urls, strict=True):
            connect(url)
            for other in {*urls} - {url}:
                with pytest.raises(psycopg.OperationalError, match="CONNECT"):
                    connect(cluster.url(owner, name_of(other)))
                with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role_of(name_of(other)))))
            with pytest.raises(psycopg.OperationalError, match="CONNECT"):
                connect(cluster.url(stranger, name_of(url)))


def test_what_the_migration_did_can_be_undone_and_done_again(cluster):
    url = cluster.database(cluster.login("CREATEROLE"))
    database = name_of(url)

    def state() -> list[Any]:
        return [
            cluster.do("SELECT tablename, policyname FROM pg_policies ORDER BY 1", database=database),
            cluster.do("SELECT relname FROM pg_class WHERE relrowsecurity ORDER BY 1", database=database),
            cluster.do(f"SELECT count(*) FROM pg_roles WHERE rolname = '{role_of(database)}'"),
            sorted(privileges(cluster, database)),
        ]

    with started(url) as app:
        fill(app)
        made = state()
        with app.app_context():
            flask_migrate.downgrade(revision="0001")
            assert state() == [[], [], [(0,)], []]
            connect(cluster.url(cluster.login(), database))
            assert isolation(app) == (503, FLOOR_MISSING)
            db.engine.dispose()
            flask_migrate.upgrade()
        assert state() == made
        assert isolation(app) == (200, "ok")


def test_reading_how_rotations_went_is_granted_and_taken_back(cluster):
    url = cluster.database(cluster.login("CREATEROLE"))
    with started(url) as app, app.app_context():
        made = privileges(cluster, name_of(url))
        scripts = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        flask_migrate.downgrade(revision=scripts.get_revision("0013").down_revision)
        assert made - privileges(cluster, name_of(url)) >= {("encryption_rotations", "SELECT")}
        flask_migrate.upgrade()
        assert privileges(cluster, name_of(url)) == made


def test_changing_a_tenant_is_granted_for_a_few_columns_alone_and_taken_back(cluster):
    url = cluster.database(cluster.login("CREATEROLE"))
    with started(url) as app, app.app_context():
        made = privileges(cluster, name_of(url))
        scripts = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        flask_migrate.downgrade(revision="0014")
        granted = privileges(cluster, name_of(url))
        flask_migrate.downgrade(revision=scripts.get_revision("0014").down_revision)
        columns = ("name", "time_zone", "updated_at", "version")
        assert granted - privileges(cluster, name_of(url)) == {(f"tenants.{column}", "UPDATE") for column in columns}
        flask_migrate.upgrade()
        assert privileges(cluster, name_of(url)) == made


def test_downgrading_leaves_a_role_that_is_not_ours_to_drop(cluster, capsys):
    login = cluster.login()
    url = cluster.database(login)
    cluster.do("CREATE ROLE {} NOLOGIN", role_of(name_of(url)))
    cluster.do("GRANT {} TO {}", role_of(name_of(url)), login)
    with started(url) as app, app.app_context():
        flask_migrate.downgrade(revision="0001")
    assert "was left" in capsys.readouterr().err
    assert privileges(cluster, name_of(url)) == set()


def test_commands_around_the_encryption_key_work_for_the_owner_of_the_tables(cluster):
    old, new = (MasterKey(secrets.token_bytes(32)) for _ in range(2))
    url = cluster.database(cluster.login("CREATEROLE"))
    with started(url, keyring=Keyring(old)) as app:
        fill(app)

    def run(*command: str, stdin: str = "") -> Any:
        result = app.test_cli_runner().invoke(args=command, input=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in command else result.stdout

    with started(url, keyring=Keyring(new, [old])) as app:
        counted = {column["column"]: column["keys"] for column in run("encryption", "status", "--json")["columns"]}
        assert counted["phone_systems.password"] == {old.id: 2}
        assert run("encryption", "verify", "--json")["opened"] == 2
        assert run("rotate-encryption-key", "--json")["rotated"] == 2
        run("encryption", "retire", old.id)
    with running(settings_for(url, keyring=Keyring(MasterKey(secrets.token_bytes(32))))) as app:
        run("encryption", "reinstate", old.id)
        assert len(run("encryption", "forget", new.id, "--json", stdin=f"{new.id}\n")["rows"]) == 2


def test_they_fail_instead_of_counting_what_little_another_login_sees(cluster):
    old, new = (MasterKey(secrets.token_bytes(32)) for _ in range(2))
    url = cluster.database(cluster.login("CREATEROLE"))
    database = name_of(url)
    with started(url, keyring=Keyring(old)) as app:
        fill(app)
    with started(url, keyring=Keyring(new, [old])):
        pass
    other = cluster.login()
    for statement in ("ALL TABLES IN SCHEMA public", "ALL SEQUENCES IN SCHEMA public", f'DATABASE "{database}"'):
        cluster.do(f"GRANT ALL ON {statement} TO {{}}", other, database=database)
    theirs = cluster.url(other, database)
    before = cluster.do("SELECT id, password_encrypted FROM phone_systems ORDER BY id", database=database)
    for keys, *command in (
        (Keyring(new, [old]), "encryption", "status"),
        (Keyring(new, [old]), "encryption", "verify"),
        (Keyring(new, [old]), "encryption", "retire", old.id),
        (Keyring(new), "encryption", "forget", old.id),
        (Keyring(new, [old]), "rotate-encryption-key"),
        (Keyring(new, [old]), "rotate-encryption-key", "--dry-run"),
    ):
        with running(settings_for(theirs, keyring=keys)) as app:
            result = app.test_cli_runner().invoke(args=command, input=f"{old.id}\n")
        assert result.exit_code == 1, command
        assert "does not see every row" in result.output, command
    assert cluster.do("SELECT id, password_encrypted FROM phone_systems ORDER BY id", database=database) == before
    assert (old.id,) in cluster.do("SELECT id FROM encryption_keys", database=database)
    cluster.do("DROP OWNED BY {}", other, database=database)
