"""The mapping of docs/adoption.md takes over an old application, whose secrets then work."""

import base64
import re

import pytest
from sqlalchemy import select

from app.credentials.models import ApiCredential
from app.extensions import db
from app.identity.models import Membership
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from app.tenancy import tenant_scope
from app.tenants.models import Tenant
from tests.adoption.conftest import ROOT, stored, token
from tests.calls.conftest import Hook
from tests.conftest import in_database

PAGE = (ROOT / "docs/adoption.md").read_text()
EXAMPLE, FILES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SECRETS = ["pbx-acme", "pbx-bravo-plain", "hook-acme", "paypal-acme", "deepgram-acme", "deepgram-bravo"]


@pytest.fixture
def old_application(old):
    """Its tables, as an application with Flask-SQLAlchemy makes them. One value is from before it encrypted."""
    old.all(
        "CREATE TABLE tenants (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, subdomain VARCHAR(50) UNIQUE,"
        " admin_email VARCHAR(120), phone_system_type VARCHAR(20), pbx_ip VARCHAR(50), pbx_port INTEGER,"
        " pbx_username VARCHAR(80), pbx_password TEXT, webhook_username VARCHAR(80),"
        " webhook_password TEXT NOT NULL, deepgram_key VARCHAR(200))"
    )
    old.all(
        "CREATE TABLE payment_settings (id INTEGER PRIMARY KEY, tenant_id INTEGER REFERENCES tenants (id),"
        f" mode VARCHAR(10), paypal_client_id VARCHAR(100), paypal_secret {'BLOB' if old.is_sqlite else 'BYTEA'})"
    )
    tenant = {
        "admin_email": "ada@acme.example",
        "phone_system_type": "freepbx",
        "pbx_ip": "192.0.2.1",
        "pbx_port": 8089,
    }
    tenant |= {"pbx_username": "api", "webhook_username": "pbx"}
    hook = base64.b64encode(b"hook-acme").decode()
    old.insert(
        "tenants",
        id=1,
        name="Acme Ltd",
        subdomain="acme",
        pbx_password=token("pbx-acme"),
        webhook_password=hook,
        deepgram_key="deepgram-acme",
        **tenant,
    )
    old.insert(
        "tenants",
        id=2,
        name="Bravo",
        subdomain="bravo",
        pbx_password="pbx-bravo-plain",
        webhook_password="",
        deepgram_key="deepgram-bravo",
        **tenant,
    )
    old.insert("tenants", id=3, name="Gamma", subdomain="gamma", webhook_password="", admin_email="g@gamma.example")
    old.insert(
        "payment_settings",
        id=1,
        tenant_id=1,
        mode="live",
        paypal_client_id="AYSq",
        paypal_secret=token("paypal-acme").encode(),
    )
    old.insert("payment_settings", id=2, tenant_id=2, mode="sandbox", paypal_secret=None)
    return old


@pytest.fixture
def adopt_example(adopt, old_application):
    adopt.variables["OLD_DATABASE_URL"] = old_application.url
    adopt.hidden += SECRETS
    return adopt


def secrets_here(app):
    """Every adopted secret, opened, with the subdomain of its tenant."""
    found = set()
    with in_database(app):
        for model, names in (
            (PhoneSystem, ["password"]),
            (PaymentAccount, ["client_secret"]),
            (ApiCredential, ["secret"]),
        ):
            for row in db.session.scalars(select(model)):
                subdomain = db.session.get(Tenant, row.tenant_id).subdomain
                found |= {(subdomain, getattr(row, name)) for name in names}
    return found


ALL = {
    ("acme", "pbx-acme"),
    ("acme", "paypal-acme"),
    ("acme", "deepgram-acme"),
    ("bravo", "pbx-bravo-plain"),
    ("bravo", "deepgram-bravo"),
}


def test_the_old_application_is_taken_over_and_its_secrets_work(app, adopt_example, old_application):
    before_here, before_there = stored(app), old_application.all("SELECT * FROM tenants")
    told = adopt_example.counts(EXAMPLE, "--dry-run", "--blank-source")
    assert (told["dry_run"], told["adopted"], told["empty"], told["failed"]) == (True, 8, 3, 0)
    assert (stored(app), old_application.all("SELECT * FROM tenants")) == (before_here, before_there)

    done = adopt_example.counts(EXAMPLE)
    same = ("rows", "adopted", "already", "empty", "failed")
    assert {name: done[name] for name in same} == {name: told[name] for name in same}
    assert old_application.all("SELECT * FROM tenants") == before_there
    assert secrets_here(app) == ALL

    with in_database(app):
        owners = select(Tenant.subdomain, Tenant.time_zone, Membership.role).join(Membership.tenant)
        assert {tuple(row) for row in db.session.execute(owners)} == {
            (name, "Europe/Berlin", "owner") for name in ("acme", "bravo", "gamma")
        }
        system = db.session.scalars(select(PhoneSystem).where(PhoneSystem.subdomain == "acme")).one()
        assert (system.name, system.vendor, system.base_url) == (
            "PBX of Acme Ltd",
            "asterisk",
            "https://192.0.2.1:8089",
        )
        assert (system.username, system.password_changed_by) == ("api", "the operator")
        hook = Hook(app, system.webhook_path, "pbx", "hook-acme")
    assert hook.deliver().status_code == 201
    assert hook.deliver(credentials=("", "wrong")).status_code == 401


def test_run_again_it_takes_over_nothing_twice_and_blanks_what_is_stored(app, adopt_example, old_application):
    first = adopt_example.counts(EXAMPLE)
    here = secrets_here(app)
    again = adopt_example.counts(EXAMPLE)
    assert (again["adopted"], again["already"], again["empty"]) == (0, first["adopted"], first["empty"])
    blanked = adopt_example(EXAMPLE, "--blank-source")
    assert blanked.exit_code == 0
    assert "5 rows blanked in the source, 0 not." in blanked.stdout
    assert "warning: what is blanked stays in older copies of the source: backups" in blanked.stderr
    left = old_application.all(
        "SELECT id, pbx_password, webhook_password, deepgram_key, pbx_username FROM tenants ORDER BY id"
    )
    assert left == [(1, None, "", None, "api"), (2, None, "", None, "api"), (3, None, "", None, None)]
    assert old_application.all("SELECT paypal_secret FROM payment_settings") == [(None,), (None,)]
    if old_application.is_sqlite:  # and not only out of sight
        assert [text for text in SECRETS if text.encode() in old_application.path.read_bytes()] == []
    last = adopt_example.counts(EXAMPLE, "--blank-source")
    assert (last["adopted"], last["blanked"], last["failed"], last["not_blanked"]) == (0, 0, 0, 0)
    assert secrets_here(app) == here == ALL


def test_what_was_deleted_here_stays_deleted_and_what_was_changed_stays_changed(app, adopt_example, old_application):
    adopt_example.counts(EXAMPLE)
    with in_database(app):
        found = {system.subdomain: system for system in db.session.scalars(select(PhoneSystem))}
        tenants, ids = (
            {name: row.tenant_id for name, row in found.items()},
            {name: row.id for name, row in found.items()},
        )
        db.session.rollback()
    with app.app_context():
        with tenant_scope(tenants["acme"]):
            phone_systems.delete(db.session(), tenants["acme"], ids["acme"])
        with tenant_scope(tenants["bravo"]):
            phone_systems.update(db.session(), tenants["bravo"], ids["bravo"], {"password": "new here"})
    again = adopt_example(EXAMPLE, "--blank-source")
    assert again.exit_code == 1
    counts = "phone_systems.pbx: 1 adopted before, 1 adopted before and deleted here since, 1 without a secret"
    assert counts in again.stdout
    told = "row 2 of tenants: is stored here, but was not blanked: its secret differs from what is stored here"
    assert told in again.stderr
    assert old_application.all("SELECT pbx_password FROM tenants WHERE id = 2") == [("pbx-bravo-plain",)]
    assert {secret for _, secret in secrets_here(app)} >= {"new here"}
    assert "pbx-acme" not in {secret for _, secret in secrets_here(app)}


def test_the_audit_trail_tells_of_each_row_and_of_the_run(app, adopt_example):
    adopt_example.counts(EXAMPLE)
    adopt_example.counts(EXAMPLE, "--dry-run")
    lines = app.test_cli_runner().invoke(args=["audit", "list"]).stdout
    actions = sorted(re.findall(r'"action": "([a-z_.]+)"', lines))
    assert actions == sorted(
        ["api_credential.created"] * 2
        + ["payment_account.created"]
        + ["phone_system.created"] * 2
        + ["tenant.created"] * 3
        + ["secrets.adopted"]
    )
    assert lines.count('"actor_type": "operator"') == len(actions)
    assert [text for text in SECRETS if text in lines] == []
