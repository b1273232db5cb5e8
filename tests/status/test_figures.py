"""What /metrics shows of the database: keys, their values, rotations and mails; and that it has nothing of a tenant."""

import secrets
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from app.audit.models import AuditEvent, AuditSeal
from app.database import now
from app.encryption.connections import direct_engine, exclusive
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity import signing_keys
from app.mail.models import Mail
from app.status import values
from tests.calls.conftest import make_hook
from tests.conftest import in_database, make_settings, running
from tests.servers import TcpProxy
from tests.status.scraped import scrape, scrape_counted

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "canary-4b1d77"


@contextmanager
def after_a_change_of_keys(app, settings):
    """The same installation with a new primary key, and the former one as a fallback."""
    former = settings.keyring.primary
    with running(replace(settings, keyring=Keyring(MasterKey(secrets.token_bytes(32)), [former]))) as changed:
        with in_database(changed):
            changed.extensions["encryption"].check_and_register(db.engine)
        yield changed


def make_phone_systems(person, count):
    for number in range(count):
        body = {"name": f"{CANARY} {number}", "vendor": "asterisk", "username": CANARY, "password": CANARY}
        assert person.client.post("/api/phone-systems", json=body).status_code == 201


def test_values_are_counted_under_each_key_of_all_tenants(app, settings, alice, charlie):
    make_phone_systems(alice, 2)
    make_phone_systems(charlie, 1)
    former = settings.keyring.primary.id
    with after_a_change_of_keys(app, settings) as changed:
        primary = changed.extensions["encryption"].keyring.primary.id
        found = scrape_counted(changed)
        assert found.all("encrypted_values", "column", "key_id") == {
            ("phone_systems.password", former): 3,
            ("phone_systems.webhook_password", former): 3,
        }
        assert found.value("encrypted_values", column="phone_systems.password", key_id=primary) == 0
        assert found.value("encryption_key_info", key_id=primary, place="primary") == 1
        assert found.value("encryption_key_info", key_id=former, place="fallback") == 1
        registered = found.all("encryption_key_registered_timestamp_seconds", "key_id")
        assert registered[former] < registered[primary] < now().timestamp()


@only_sqlite
def test_values_are_counted_every_five_minutes_at_the_most(app, alice):
    first = scrape_counted(app)
    make_phone_systems(alice, 1)
    assert scrape_counted(app).value("encrypted_values_counted_timestamp_seconds") == first.value(
        "encrypted_values_counted_timestamp_seconds"
    )
    counter = app.extensions["value_counter"]
    counter._kept = replace(counter._kept, counted_at=counter._kept.counted_at - values.PAUSE_SECONDS)
    assert scrape_counted(app).all("encrypted_values", "column") == {
        "phone_systems.password": 1,
        "phone_systems.webhook_password": 1,
    }


def test_a_rotation_is_seen_from_its_beginning_to_its_proof(app, settings, alice):
    make_phone_systems(alice, 3)
    with after_a_change_of_keys(app, settings) as changed:
        assert not [name for name, _ in scrape(changed).values if name.startswith("audiapro_rotation")]
        began = now()
        with in_database(changed):
            rotations = changed.extensions["encryption"].registry.rotations
            row = {"from_key_ids": "a", "to_key_id": "b", "planned": 6, "rotated": 3, "unreadable": 1, "proved": 0}
            db.session.execute(insert(rotations).values(started_at=began, **row))
            db.session.commit()
        broken_off = scrape(changed)
        assert broken_off.value("rotation_done_ratio") == 0.5
        assert broken_off.value("rotation_handled_values") == 3
        assert broken_off.value("rotation_unreadable_values") == 1
        assert broken_off.value("rotation_started_timestamp_seconds") == pytest.approx(began.timestamp(), abs=0.01)
        assert broken_off.value("rotation_running") == broken_off.value("rotation_proved") == 0
        assert broken_off.value("rotation_proved_timestamp_seconds") is None
        assert changed.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
        over = scrape(changed)
        assert over.value("rotation_done_ratio") == over.value("rotation_proved") == 1
        assert over.value("rotation_handled_values") == 12
        assert over.value("rotation_unreadable_values") == over.value("rotation_running") == 0
        assert over.value("rotation_proved_timestamp_seconds") >= began.timestamp()


def test_a_rotation_that_runs_is_told_from_one_that_was_broken_off(app, settings):
    encryption = app.extensions["encryption"]
    row = {"from_key_ids": "", "to_key_id": "b", "planned": 0, "rotated": 0, "unreadable": 0}
    with in_database(app):
        db.session.execute(insert(encryption.registry.rotations).values(started_at=now(), **row))
        db.session.commit()
        with exclusive(direct_engine(settings.database_url)):
            assert scrape(app).value("rotation_running") == 1
    assert scrape(app).value("rotation_running") == 0


def test_mails_are_counted_that_wait_or_came_to_nothing(app):
    began = now() - timedelta(hours=2)
    assert scrape(app).value("mail_oldest_queued_timestamp_seconds") is None
    with in_database(app):
        for state in ("queued", "queued", "sent", "refused", "given_up"):
            mail = Mail(kind="reset_password", state=state, content=None, created_at=began, expires_at=now())
            db.session.add(mail)
        db.session.commit()
        db.session.execute(update(Mail).values(due_at=now() + timedelta(days=1)))
        db.session.commit()
    found = scrape(app)
    assert found.all("mails", "state") == {"queued": 2, "refused": 1, "given_up": 1}
    assert found.value("mail_oldest_queued_timestamp_seconds") == pytest.approx(began.timestamp(), abs=0.01)


def test_the_age_of_the_jwt_secret_and_how_old_a_key_may_be_are_shown(app):
    app.extensions["settings"] = replace(app.extensions["settings"], key_max_age=timedelta(days=30))
    key_id = app.extensions["signing_keys"].current_id
    before = scrape(app)
    assert before.value("key_max_age_seconds") == 30 * 86_400
    began = now().timestamp()
    with in_database(app), db.engine.connect() as connection:
        signing_keys.register(connection, key_id)
    used_at = scrape(app).value("jwt_secret_first_used_timestamp_seconds", key_id=key_id)
    assert began <= used_at <= now().timestamp()


def test_it_is_shown_when_the_audit_trail_was_last_sealed_and_what_came_since(app, alice):
    before = scrape(app)
    assert before.value("audit_sealed_timestamp_seconds") is None
    sealed_at = now() - timedelta(days=3)
    with in_database(app):
        for number, age in ((1, 2), (2, 0)):
            made_at = sealed_at - timedelta(days=age)
            db.session.add(AuditSeal(number=number, sealed_at=made_at, content={}))
        db.session.add(
            AuditEvent(
                tenant_id=None,
                action="canary.done",
                outcome="success",
                actor_type="operator",
                actor_name="",
                details={},
            )
        )
        db.session.commit()
    after = scrape(app)
    assert after.value("audit_sealed_timestamp_seconds") == pytest.approx(sealed_at.timestamp(), abs=0.01)
    assert after.value("audit_newest_event_timestamp_seconds") == pytest.approx(now().timestamp(), abs=60)


@only_sqlite
def test_it_is_shown_whether_redis_answers(app, redis_url):
    assert scrape(app).value("redis_up") is None  # none is configured
    with TcpProxy(redis_url) as proxy:
        app.extensions["settings"] = replace(app.extensions["settings"], redis_url=proxy.url)
        assert scrape(app).value("redis_up") == 1
        proxy.refuse()
        assert scrape(app).value("redis_up") == 0
        assert scrape(app).value("database_up") == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_readiness_is_shown_check_by_check(app):
    found = scrape(app)
    checks = {"database", "migrations", "encryption_keys", "tenant_isolation"}
    assert found.all("ready", "check") == dict.fromkeys(checks, 1)
    app.extensions["encryption"].keyring = Keyring(MasterKey(bytes(range(32))))
    assert scrape(app).all("ready", "check") == dict.fromkeys(checks - {"encryption_keys"}, 1)


def test_without_a_database_the_rest_is_shown():
    with running(make_settings(f"postgresql+psycopg://nobody:{CANARY}@127.0.0.1:1/none")) as app:
        app.test_client().get("/healthz")
        found = scrape_counted(app)
    assert found.value("database_up") == 0
    assert {labels for name, labels in found.values if name == "audiapro_ready"} == {(("check", "database"),)}
    assert found.value("ready", check="database") == 0  # of the others nobody knows
    assert found.value("http_requests_total", route="/healthz", method="GET", status="200") == 1
    assert found.value("workers") == 1
    of_the_database = ("rotation", "mail", "encrypted_values", "encryption_key_registered", "jwt", "audit_sealed")
    assert not [name for name, _ in found.values if name.removeprefix("audiapro_").startswith(of_the_database)]
    assert CANARY not in found.text


def test_a_database_that_is_not_migrated_hides_nothing_else(tmp_path):
    with running(make_settings(f"sqlite:///{tmp_path / 'empty.db'}")) as app:
        found = scrape_counted(app)
    assert found.value("database_up") == 1
    assert found.value("ready", check="migrations") == 0


def test_nothing_of_a_tenant_and_no_secret_is_shown(app, settings, alice):
    make_phone_systems(alice, 1)
    hook = make_hook(app, alice, name=CANARY)
    hook.deliver(b"src=" + CANARY.encode())
    hook.deliver(credentials=(CANARY, CANARY))
    alice.client.get(f"/api/calls?number={CANARY}")
    alice.client.get(f"/{CANARY}")
    app.test_client().post("/api/login", json={"email": f"{CANARY}@acme.example", "password": CANARY})
    shown = scrape_counted(app).text.lower()
    keys = [secret.hex() for secret in settings.keyring.secrets()]
    ids = [str(one) for one in (alice.user_id, alice.tenant_id, alice.session_id, hook.phone_system_id)]
    for told in (
        CANARY,
        "acme",
        "192.0.2",
        settings.metrics_token,
        settings.jwt_secret_key,
        *keys,
        *ids,
        hook.password,
    ):
        assert told.lower() not in shown
