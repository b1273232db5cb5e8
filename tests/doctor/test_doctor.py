"""``flask doctor``: nothing to say of an installation that is well kept, and each of many faults is found."""

import json
import re
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from redis import Redis as Client
from sqlalchemy import text

from app.audit import seals
from app.audit import service as audit
from app.calls.models import Call
from app.config import PROJECT
from app.database import now
from app.doctor import State
from app.doctor import database as doctor_database
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity import tokens
from app.identity.models import Membership, User
from app.mail.models import Mail
from app.outbound.addresses import networks_of
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant
from tests.conftest import in_database, make_settings, running
from tests.doctor.conftest import examined, examined_app, not_ok
from tests.servers import Redis, free_port

OLD = timedelta(days=181)


def test_of_an_installation_that_is_well_kept_it_has_nothing_to_say(settings):
    found = examined(settings)
    assert not_ok(found) == {}
    described = re.findall(r"^\| `([^`]+)` \|", (PROJECT / "docs/doctor.md").read_text(), re.MULTILINE)
    assert [finding.subject for finding in found] == [
        name for name in described if name not in ("database", "database, direct")
    ]


@pytest.mark.parametrize(
    ("changes", "subject", "state", "words"),
    [
        ({"environment": "development"}, "environment", State.WARNING, "APP_ENV=production"),
        ({"warnings": ("/run/secrets/key has mode 0644.",)}, "files", State.FAILURE, "mode 0644"),
        ({"public_url": None}, "public address", State.WARNING, "PUBLIC_URL is not set"),
        ({"trusted_proxy_hops": 0}, "proxies", State.WARNING, "TRUSTED_PROXY_HOPS is 0"),
        ({"cors_origins": ("http://wall.example",)}, "CORS", State.WARNING, "http://wall.example"),
        ({"outbound_networks": networks_of("127.0.0.0/8")}, "tenants' PBXs", State.WARNING, "this machine itself"),
        ({"redis_url": None}, "Redis", State.WARNING, "2 processes"),
        ({"redis_url": "redis://:x@127.0.0.1:1/0"}, "Redis", State.FAILURE, "does not count (ConnectionError)"),
        ({"resend_api_key": None}, "mail", State.WARNING, "RESEND_API_KEY"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_the_configuration_lacks_is_found(settings, changes, subject, state, words):
    found = examined(replace(settings, **changes))
    assert [finding[:2] for finding in found if finding.state is not State.OK] == [(subject, state)]
    assert words in not_ok(found)[subject]


def test_debug_mode_is_found(settings):
    with running(settings) as app:
        app.debug = True
        assert "Debug mode is on" in not_ok(examined_app(app, settings))["environment"]


def test_a_wrong_password_of_redis_is_found(settings, redis_url):
    wrong = redis_url.replace(":", "://", 1).partition("@")[2]
    assert "Authentication" in not_ok(examined(replace(settings, redis_url=f"redis://:wrong@{wrong}")))["Redis"]


def test_a_redis_without_a_password_is_found(settings):
    with Redis() as redis:
        with Client.from_url(redis.url) as client:
            client.config_set("requirepass", "")
        assert (
            "answers anybody"
            in not_ok(examined(replace(settings, redis_url=f"redis://127.0.0.1:{redis.port}/0")))["Redis"]
        )


def test_a_redis_that_has_no_room_left_is_found(settings):
    with Redis() as redis, Client.from_url(redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1kb")
        assert "does not count (OutOfMemoryError)" in not_ok(examined(replace(settings, redis_url=redis.url)))["Redis"]


def test_the_way_past_the_pooler_is_tried(settings, well_kept, postgres):
    def direct(url):
        found = examined(replace(settings, rotation_database_url=url))
        return {finding.subject: finding for finding in found}["database, direct"]

    assert direct(settings.database_url).state is State.OK
    elsewhere = postgres.url().replace("postgresql://", "postgresql+psycopg://")
    assert "leads to another database" in direct(elsewhere).text
    nowhere = f"postgresql+psycopg://app:hunter2@127.0.0.1:{free_port()}/nowhere"
    assert "ROTATION_DATABASE_URL does not work" in direct(nowhere).text
    assert "hunter2" not in direct(nowhere).text


def test_a_database_that_is_away_is_told_in_one_line_without_its_password(settings):
    url = settings.database_url.rpartition("@")[0] + f"@127.0.0.1:{free_port()}/nowhere"
    found = examined(replace(settings, database_url=url), start=False)
    assert list(not_ok(found)) == ["database"]
    assert not_ok(found)["database"].startswith("It cannot be used: connection failed")
    assert url.split(":")[2].partition("@")[0] not in str(found)


@contextmanager
def planted(well_kept, fault, remedy):
    well_kept.execute(fault)
    try:
        yield
    finally:
        well_kept.execute(remedy)


@pytest.mark.parametrize(
    ("fault", "remedy", "subject", "state", "words"),
    [
        (
            "UPDATE alembic_version SET version_num = '0013'",
            "UPDATE alembic_version SET version_num = (SELECT '{head}')",
            "migrations",
            State.FAILURE,
            "flask db upgrade",
        ),
        *(
            (f"ALTER ROLE {{login}} {power}", f"ALTER ROLE {{login}} NO{power}", "database, login", State.WARNING, word)
            for power, word in (("SUPERUSER", "superuser"), ("BYPASSRLS", "BYPASSRLS"))
        ),
        (
            "ALTER ROLE {login} CONNECTION LIMIT 10",
            "ALTER ROLE {login} CONNECTION LIMIT -1",
            "database, room",
            State.WARNING,
            "which has 10 for this login",
        ),
        (
            "ALTER TABLE calls DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE calls ENABLE ROW LEVEL SECURITY",
            "tenants",
            State.FAILURE,
            "switched off",
        ),
        (
            "CREATE POLICY everybody ON phone_systems USING (true)",
            "DROP POLICY everybody ON phone_systems",
            "tenants",
            State.FAILURE,
            "phone_systems",
        ),
        (
            "ALTER ROLE audiapro_web_{login} RENAME TO elsewhere_{login}",
            "ALTER ROLE elsewhere_{login} RENAME TO audiapro_web_{login}",
            "tenants",
            State.WARNING,
            "does not keep tenants apart",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_the_database_lacks_is_found(settings, well_kept, fault, remedy, subject, state, words):
    with running(settings) as app:
        examined_app(app, settings)
        with in_database(app):
            db.session.add(PhoneSystem(tenant=Tenant(name="Acme", subdomain="acme"), name="PBX", vendor="asterisk"))
            db.session.commit()
            head = db.session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            db.session.rollback()
            db.engine.dispose()
    names = {"login": well_kept.login, "head": head}
    with planted(well_kept, fault.format(**names), remedy.format(**names)):
        found = examined(settings, start=False)
    assert [finding[:2] for finding in found if finding.state is not State.OK] == [(subject, state)]
    assert words in not_ok(found)[subject]


def test_a_clock_that_is_wrong_is_found(settings, monkeypatch):
    monkeypatch.setattr(doctor_database, "now", lambda: now() + timedelta(hours=1))
    assert "3600 s apart" in not_ok(examined(settings))["clock"]


def test_a_verifier_that_takes_tokens_without_an_end_is_found(settings, monkeypatch):
    monkeypatch.setattr(tokens, "CLAIMS", [claim for claim in tokens.CLAIMS if claim != "exp"])
    assert "without exp" in not_ok(examined(settings))["tokens"]


@pytest.fixture
def keys():
    return SimpleNamespace(old=MasterKey(secrets.token_bytes(32)), new=MasterKey(secrets.token_bytes(32)))


@pytest.fixture
def rotated(settings, keys):
    """After the swap of keys: a value is left under the old one. Returns the settings, and that value's removal."""
    before, after = (replace(settings, keyring=Keyring(*pair)) for pair in ((keys.old,), (keys.new, (keys.old,))))
    with running(before) as app:
        examined_app(app, before)
        with in_database(app):
            tenant = Tenant(name="Acme", subdomain="acme")
            db.session.add(PhoneSystem(tenant=tenant, name="PBX", vendor="asterisk", password="hunter2"))
            db.session.commit()
    return after


def test_values_under_an_old_key_are_found(rotated, keys):
    found = not_ok(examined(rotated))
    assert f"{keys.old.id} is not the primary key, and values are still" in found["encryption keys"]


def test_a_key_that_can_be_retired_and_then_one_that_can_be_dropped_are_found(rotated, well_kept, keys):
    well_kept.execute("UPDATE phone_systems SET password_encrypted = NULL")
    assert f"flask encryption retire {keys.old.id}" in not_ok(examined(rotated))["encryption keys"]
    with running(rotated) as app:
        assert app.test_cli_runner().invoke(args=["encryption", "retire", keys.old.id]).exit_code == 0
        assert f"{keys.old.id} is retired: take it out" in not_ok(examined_app(app, rotated))["encryption keys"]


def test_a_key_that_the_database_needs_and_nobody_has_is_found(rotated, keys):
    assert not_ok(examined(rotated))
    found = examined(replace(rotated, keyring=Keyring(keys.new)), start=False)
    assert f"under key {keys.old.id}, which is not configured" in not_ok(found)["encryption keys"]


def test_a_fallback_that_the_database_does_not_know_is_found(settings, keys):
    found = examined(replace(settings, keyring=Keyring(keys.new, (keys.old,))))
    assert f"{keys.old.id} is a fallback that the database does not know" in not_ok(found)["encryption keys"]


def test_a_key_that_has_not_sealed_yet_is_told(settings):
    found = examined(settings, start=False)
    assert set(not_ok(found)) == {"encryption keys", "JWT secret", "stored secrets"}


def test_old_keys_are_found_and_told_at_the_start(settings, well_kept):
    examined(settings)
    well_kept.execute(
        "UPDATE encryption_keys SET created_at = created_at - interval '181 days'",
        "UPDATE signing_keys SET first_used_at = first_used_at - interval '181 days'",
    )
    with running(settings) as app:
        found = [finding.text for finding in examined_app(app, settings) if finding.subject == "age of keys"]
        assert [text.partition(" is 181 days old")[0] for text in found] == [
            f"ENCRYPTION_KEY {settings.keyring.primary.id}",
            f"JWT_SECRET_KEY {app.extensions['signing_keys'].current_id}",
        ]
    assert not_ok(examined(replace(settings, key_max_age=timedelta(days=182)))) == {}


def test_a_former_jwt_secret_that_no_token_needs_is_found(settings, well_kept):
    settings = replace(settings, jwt_secret_key_fallbacks=(secrets.token_urlsafe(48),))
    assert not_ok(examined(settings)) == {}
    well_kept.execute("UPDATE signing_keys SET first_used_at = first_used_at - interval '25 hours'")
    assert "JWT_SECRET_KEY_FALLBACKS" in not_ok(examined(settings))["JWT secret"]


def test_mails_that_wait_and_events_without_a_seal_are_found(settings, well_kept):
    with running(settings) as app:
        examined_app(app, settings)
        with in_database(app):
            db.session.add(Mail(kind="invitation", content={}, expires_at=now() + timedelta(days=1)))
            audit.record(db.session(), "encryption_key.retired")
            db.session.commit()
            assert not_ok(examined_app(app, settings)) == {}
            db.session.remove()
            well_kept.execute(
                "UPDATE mails SET created_at = created_at - interval '2 hours'",
                "ALTER TABLE audit_events DISABLE TRIGGER USER",
                "UPDATE audit_events SET occurred_at = occurred_at - interval '49 hours'",
                "ALTER TABLE audit_events ENABLE TRIGGER USER",
            )
            assert set(not_ok(examined_app(app, settings))) == {"mail", "audit trail"}
            seals.seal(db.session())
            assert set(not_ok(examined_app(app, settings))) == {"mail"}


def test_call_records_that_nobody_removes_are_found(settings, well_kept):
    with running(settings) as app:
        examined_app(app, settings)
        with in_database(app):
            acme, other = Tenant(name="Acme", subdomain="acme", call_retention_days=30), Tenant(name="O", subdomain="o")
            db.session.add_all([acme, other])
            db.session.flush()
            for tenant, days in ((acme, 31), (acme, 29), (other, 400)):
                began = now() - timedelta(days=days)
                db.session.add(
                    Call(
                        tenant_id=tenant.id,
                        record_key="1",
                        source="100",
                        destination="101",
                        started_at=began,
                        duration_seconds=0,
                        talk_seconds=0,
                        disposition="busy",
                        details={},
                    )
                )
            db.session.commit()
        well_kept.execute("UPDATE calls SET received_at = received_at - interval '3 days'")
        assert not_ok(examined_app(app, settings)) == {}, "it may have gone a day too late"
        well_kept.execute("UPDATE calls SET started_at = started_at - interval '3 days'")
        assert not_ok(examined_app(app, settings)) == {}, "since today they are not to be kept for longer"
        well_kept.execute("UPDATE tenants SET updated_at = updated_at - interval '3 days'")
        assert not_ok(examined_app(app, settings))["call retention"].startswith(
            "Call records are kept for longer than acme set"
        )
        assert app.test_cli_runner().invoke(args=["calls", "remove-old"]).exit_code == 0
        assert not_ok(examined_app(app, settings)) == {}


def test_backups_that_nobody_checks_are_found(settings, well_kept):
    age = "ALTER TABLE audit_events DISABLE TRIGGER USER", "ALTER TABLE audit_events ENABLE TRIGGER USER"
    with running(settings) as app:
        with in_database(app):
            db.session.add(Tenant(name="Acme", subdomain="acme"))
            db.session.commit()
        assert not_ok(examined_app(app, settings)) == {}
        well_kept.execute("UPDATE tenants SET created_at = created_at - interval '36 days'")
        assert "flask backup check FILE --record" in not_ok(examined_app(app, settings))["backups"]
        with in_database(app):
            audit.record(db.session(), "backup.checked")
            db.session.commit()
        assert not_ok(examined_app(app, settings)) == {}
        well_kept.execute(age[0], "UPDATE audit_events SET occurred_at = occurred_at - interval '36 days'", age[1])
        assert "backups" in not_ok(examined_app(app, settings))
        for days, said in ((36, True), (34, False)):
            reached = (now() - timedelta(days=days)).isoformat(timespec="seconds")
            with in_database(app):
                audit.record(db.session(), "backup.checked", details={"newest_event_at": reached})
                db.session.commit()
            found = not_ok(examined_app(app, settings))
            assert ("has nothing in it that is newer than" in found.get("backups", "")) == said


def own(email, *tenants, role="owner", left_at=None, **facts):
    memberships = [Membership(tenant=tenant, role=role, disabled_at=left_at) for tenant in tenants]
    db.session.add(User(email=email, password_hash="x", memberships=memberships, **facts))


def test_owners_who_can_sign_in_without_a_second_factor_are_counted(settings):
    with running(settings) as app, in_database(app):
        acme, *others = (Tenant(name=name, subdomain=name) for name in ("acme", "b", "c", "d", "e", "f", "g"))
        own("confirmed@acme.example", acme, totp_confirmed_at=now())
        own("admin@acme.example", acme, role="admin")
        own("disabled@acme.example", acme, disabled_at=now())
        own("left@acme.example", acme, left_at=now())
        own("owner@suspended.example", Tenant(name="S", subdomain="suspended", suspended_at=now()))
        db.session.commit()
        assert not_ok(examined_app(app, settings)) == {}
        own("begun@acme.example", acme, totp_secret="JBSWY3DPEHPK3PXP")
        db.session.commit()
        assert not_ok(examined_app(app, settings)) == {
            "second factors": "1 owner signs in without a second factor, in acme: each turns one on in the "
            "dashboard, under “Your account”."
        }
        own("several@acme.example", acme, *others)
        db.session.commit()
        found = [finding for finding in examined_app(app, settings) if finding.state is not State.OK]
        assert [finding[:2] for finding in found] == [("second factors", State.WARNING)]
        assert "2 owners sign in without a second factor, in acme, b, c, d, e and 2 more:" in found[0].text


class TestSqlite:
    @pytest.fixture
    def path(self, migrated_sqlite, tmp_path):
        return shutil.copy(migrated_sqlite, tmp_path / "audiapro.db")

    def test_a_file_that_others_can_read_is_found(self, path):
        path.chmod(0o644)
        found = examined(make_settings(f"sqlite:///{path}"))
        assert f"chmod 600 {path}" in " ".join(finding.text for finding in found if finding.state is State.FAILURE)

    def test_nothing_is_changed(self, path):
        settings = make_settings(f"sqlite:///{path}")
        examined(settings)
        with running(settings) as app, in_database(app):
            before = list(db.session.connection().connection.iterdump())
        examined(settings, start=False)
        with running(settings) as app, in_database(app):
            assert list(db.session.connection().connection.iterdump()) == before


class TestCommand:
    def test_it_prints_a_line_for_each_and_ends_with_0_where_nothing_has_failed(self, settings):
        with running(settings) as app:
            examined_app(app, settings)
            result = app.test_cli_runner().invoke(args=["doctor"])
        assert result.exit_code == 0
        assert result.output.startswith("ok       environment: production, debug mode off\n")
        assert result.output.endswith("0 to be mended, 0 to be decided about.\n")

    def test_as_json_it_says_the_same_and_ends_with_1_where_something_has_failed(self, settings):
        with running(replace(settings, redis_url="redis://127.0.0.1:1/0")) as app:
            result = app.test_cli_runner().invoke(args=["doctor", "--json"])
        said = json.loads(result.output)
        assert (result.exit_code, said["failure"], said["warning"]) == (1, 1, 3)
        assert {"subject", "state", "text"} == set(said["findings"][0])
