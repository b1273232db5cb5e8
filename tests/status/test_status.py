"""Alive, ready, and what this is."""

import flask_migrate
import pytest
from sqlalchemy import text

from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.tenancy import FLOOR_MISSING
from tests.conftest import in_database, make_settings, running

CHECKS = {"database": "ok", "migrations": "ok", "encryption_keys": "ok"}
# SQLite cannot keep tenants apart; PostgreSQL does.
ISOLATION = {"sqlite": FLOOR_MISSING, "postgresql": "ok"}
OTHER = MasterKey(bytes(range(32)))


def test_it_says_what_it_is(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert (answer.json["name"], answer.json["links"]["openapi"]) == ("AudiaPro", "/openapi.json")
    assert all(client.get(link).status_code == 200 for link in answer.json["links"].values())


def test_a_browser_is_led_to_the_dashboard_and_no_cache_mixes_the_two_up(client):
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    program = client.get("/", headers={"Accept": "*/*"})
    assert (browser.status_code, browser.headers["Location"]) == (303, "/overview")
    assert (program.status_code, program.json["name"]) == (200, "AudiaPro")
    assert browser.headers["Vary"] == program.headers["Vary"] == "Accept"


def ready_on(dialect):
    return {"status": "ok", "checks": CHECKS | {"tenant_isolation": ISOLATION[dialect]}}


def test_ready(app, client):
    answer = client.get("/readyz")
    with app.app_context():
        assert (answer.status_code, answer.json) == (200, ready_on(db.engine.dialect.name))


def test_alive_without_a_database():
    with running(make_settings("postgresql+psycopg://nobody:canary@127.0.0.1:1/none")) as app:
        alive, ready = (app.test_client().get(path) for path in ("/healthz", "/readyz"))
    assert (alive.status_code, alive.json) == (200, {"status": "ok"})
    assert ready.status_code == 503
    assert ready.json["checks"]["database"] == "The database cannot be reached."
    assert "canary" not in ready.text


def test_not_ready_before_the_migration_and_ready_after_it(tmp_path):
    with running(make_settings(f"sqlite:///{tmp_path / 'empty.db'}")) as app:
        client = app.test_client()
        before = client.get("/readyz")
        with app.app_context():
            flask_migrate.upgrade()
        assert client.get("/readyz").json == ready_on("sqlite")
    assert before.status_code == 503
    assert before.json["status"] == "unavailable"
    assert before.json["checks"]["database"] == "ok"
    assert "flask db upgrade" in before.json["checks"]["migrations"]


def test_a_database_of_a_newer_version_is_fine_while_both_versions_run(app, client):
    with in_database(app):
        ours = db.session.execute(text("SELECT version_num FROM alembic_version")).scalar()
        db.session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
        db.session.commit()
        try:
            assert client.get("/readyz").json["checks"]["migrations"] == "ok"
        finally:
            db.session.execute(text("UPDATE alembic_version SET version_num = :ours"), {"ours": ours})
            db.session.commit()


@pytest.mark.parametrize("change", ["missing", "retired"])
def test_not_ready_when_the_keys_do_not_fit(app, client, change):
    encryption = app.extensions["encryption"]
    primary = encryption.keyring.primary
    if change == "missing":
        encryption.keyring = Keyring(OTHER)
    else:
        with in_database(app):
            encryption.registry.check_and_register(db.engine, Keyring(OTHER, [primary]))
            encryption.registry.retire(db.engine, Keyring(OTHER), primary.id)
            encryption.keyring = Keyring(primary, [OTHER])
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert primary.id in answer.json["checks"]["encryption_keys"]
    assert answer.json["checks"]["migrations"] == "ok"


def test_not_ready_when_the_primary_is_not_registered(app, client):
    encryption = app.extensions["encryption"]
    encryption.keyring = Keyring(OTHER, [encryption.keyring.primary])
    assert f"{OTHER.id} is not registered" in client.get("/readyz").json["checks"]["encryption_keys"]
