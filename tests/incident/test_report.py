"""`flask incident report`: which secrets existed and were used, whom to tell, and who must reissue them."""

import json
import tracemalloc
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from apiflask import APIFlask
from sqlalchemy import insert, select, update

from app.audit.models import AuditEvent
from app.database import now, uuid7
from app.encryption import inventory
from app.encryption.connections import direct_engine
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity.models import Membership, Role, SigningKey, User, UserSession
from app.incident.exposure import exposed
from app.incident.kinds import KINDS, OF_USERS
from app.payments.models import PaymentAccount
from app.tenants.models import Tenant
from app.tenants.secrets import own_columns
from tests.calls.conftest import make_hook
from tests.conftest import Person, in_database, make_settings, running, wait_for_senders

DAY = timedelta(days=1)


def report(app: APIFlask, since: datetime, *options: str) -> dict:
    wait_for_senders()  # who write what they sent on the same standard error
    result = app.test_cli_runner().invoke(args=["incident", "report", "--since", since.isoformat(), *options, "--json"])
    assert (result.exit_code, result.exception, result.stderr) == (0, None, "")
    return json.loads(result.stdout)


def in_words(app: APIFlask, since: datetime, *options: str) -> str:
    result = app.test_cli_runner().invoke(args=["incident", "report", "--since", since.isoformat(), *options])
    assert (result.exit_code, result.exception) == (0, None)
    return result.stdout


def secrets_of(found: dict, subdomain: str) -> dict[str, dict]:
    [tenant] = [tenant for tenant in found["tenants"] if tenant["subdomain"] == subdomain]
    return {secret["what"]: secret for secret in tenant["secrets"]}


def make(person: Person, path: str, **values) -> dict:
    answer = person.client.post(f"/api/{path}", json=values)
    assert answer.status_code == 201, answer.text
    return answer.json


def make_account(person: Person, **values) -> dict:
    return make(person, "payment-accounts", **{"provider": "paypal", "mode": "live", "client_secret": "x1", **values})


def test_a_tenant_whose_secret_was_used_is_told_from_one_whose_was_only_there_and_one_without_any(app, alice, charlie):
    hook = make_hook(app, alice)
    hook.deliver()
    make_account(charlie)
    with in_database(app):
        db.session.add(Tenant(name="Bystander", subdomain="bystander"))
        db.session.commit()
    since = now()
    before = report(app, since)
    assert hook.deliver().status_code < 300
    app.extensions["audit_tally"]._begin()  # an hour later
    hook.deliver()
    found = report(app, since)
    assert [tenant["subdomain"] for tenant in found["tenants"]] == ["acme", "others"]
    assert found["count"] == 2
    assert not any(secret["used"] for tenant in before["tenants"] for secret in tenant["secrets"])
    used = {
        (tenant["subdomain"], secret["column"], secret["row"], secret["uses"])
        for tenant in found["tenants"]
        for secret in tenant["secrets"]
        if secret["used"]
    }
    assert used == {("acme", "phone_systems.webhook_password", str(hook.phone_system_id), 1)}


def test_owners_and_admins_who_can_sign_in_are_told(app, alice, bob):
    make_account(alice)
    with in_database(app):
        tenant = db.session.get(Tenant, alice.tenant_id)
        for name, changes in (
            ("ada", {}),
            ("gone", {"disabled_at": now()}),
        ):
            user = User(email=f"{name}@acme.example", password_hash="x")
            db.session.add(Membership(user=user, tenant=tenant, role=Role.ADMIN, **changes))
        db.session.commit()
    [acme] = report(app, now())["tenants"]
    assert acme["tell"] == [
        {"email": "alice@acme.example", "role": "owner", "disabled": False},
        {"email": "ada@acme.example", "role": "admin", "disabled": False},
    ]
    assert (acme["name"], acme["suspended"]) == ("Acme", False)


def test_an_owner_who_was_disabled_is_told_where_no_other_is_left(app, alice, bob):
    """As on the page of an authentication bypass, when it was the only owner's account."""
    make_account(alice)
    for command in (["suspend-tenant", "acme"], ["disable-user", "alice@acme.example"]):
        assert app.test_cli_runner().invoke(args=command).exit_code == 0
    [acme] = report(app, now())["tenants"]
    assert acme["tell"] == [{"email": "alice@acme.example", "role": "owner", "disabled": True}]
    assert "\n  tell: alice@acme.example (owner, disabled)\n" in in_words(app, now())


def test_each_kind_of_secret_says_what_it_is_and_who_must_reissue_it(app, alice):
    make_hook(app, alice)
    make(alice, "phone-systems", name="Cellar", vendor="asterisk", base_url="https://pbx.example", password="p1")
    make_account(alice)
    make(alice, "api-credentials", name="Speech", provider="deepgram", secret="x2")
    make(alice, "api-keys", name="Wallboard", role="member")
    alice.client.post("/api/second-factor")
    with in_database(app):
        db.session.get(User, alice.user_id).recovery_code_hashes = ["a"]
        db.session.commit()
        primary = app.extensions["encryption"].keyring.primary.id
    secrets = secrets_of(report(app, now()), "acme")
    assert {secret["key_id"] for secret in secrets.values()} == {primary}
    by_words = {what: secret["reissue"] for what, secret in secrets.items()}
    assert (
        by_words.items()
        >= {
            "API password of the phone system Cellar": "the tenant: a new one at the PBX, then here",
            "webhook password of the phone system Cellar": "the tenant: a new one here, then at the PBX",
            "client secret of the payment account paypal live": "PayPal",
            "API credential Speech": "deepgram",
            "API key Wallboard": "AudiaPro: the tenant makes a new one and deletes this one",
            "recovery codes of alice@acme.example": "AudiaPro: the user makes new ones",
        }.items()
    )


def test_every_encrypted_column_of_tenants_and_users_is_told(app):
    names = {column.name for column in own_columns()}
    assert KINDS.keys() == names
    with app.app_context():
        assert KINDS.keys() | OF_USERS.keys() | {"mails.content", "audit_seals.content"} == {
            column.name for column in inventory(db.metadata)
        }


def test_what_was_replaced_removed_or_deleted_since_is_told(app, alice):
    phone_system = make(
        alice, "phone-systems", name="Main", vendor="asterisk", base_url="https://pbx.example", password="p1"
    )
    account = make_account(alice)
    credential = make(alice, "api-credentials", name="Speech", provider="deepgram", secret="x2")
    key = make(alice, "api-keys", name="Wallboard", role="member")
    since = now()
    url = f"/api/phone-systems/{phone_system['id']}"
    assert alice.client.post(f"{url}/webhook-password", json={"keep_previous_hours": 0}).status_code == 200
    assert alice.client.patch(url, json={"password": "p2"}).status_code == 200
    assert alice.client.patch(url, json={"password": "p3"}).status_code == 200
    assert alice.client.patch(f"/api/api-credentials/{credential['id']}", json={"secret": None}).status_code == 200
    assert alice.client.delete(f"/api/payment-accounts/{account['id']}").status_code == 204
    assert alice.client.delete(f"/api/api-keys/{key['id']}").status_code == 204
    secrets = secrets_of(report(app, since), "acme")
    assert {what: secret["gone_at"] is not None for what, secret in secrets.items()} == {
        "API password of the phone system Main": False,
        "2 earlier values: API password of the phone system Main": True,
        "webhook password of the phone system Main": False,
        "earlier value: webhook password of the phone system Main": True,
        "earlier value: API credential Speech": True,
        "client secret of the payment account paypal live": True,
        "API key Wallboard": True,
    }
    assert secrets["client secret of the payment account paypal live"]["reissue"] == "PayPal"
    assert secrets["API key Wallboard"]["used"] is None
    later = secrets_of(report(app, now()), "acme")
    assert set(later) == {"API password of the phone system Main", "webhook password of the phone system Main"}


def test_what_was_made_since_without_a_secret_has_none_that_is_gone(app, alice):
    since = now()
    account = make(alice, "payment-accounts", provider="paypal", mode="live")
    url = f"/api/payment-accounts/{account['id']}"
    assert alice.client.patch(url, json={"webhook_id": "W"}).status_code == 200
    assert alice.client.delete(url).status_code == 204
    found = report(app, since)
    kinds = {secret["column"] for tenant in found["tenants"] for secret in tenant["secrets"]}
    assert "payment_accounts.client_secret" not in kinds


def test_the_uses_of_a_replaced_webhook_password_are_the_earlier_ones(app, alice):
    hook = make_hook(app, alice)
    since = now()
    hook.deliver()
    url = f"/api/phone-systems/{hook.phone_system_id}/webhook-password"
    assert alice.client.post(url, json={"keep_previous_hours": 0}).status_code == 200
    secrets = secrets_of(report(app, since), "acme")
    found = {secret["what"].partition(" password")[0]: secret["used"] for secret in secrets.values()}
    assert (found["webhook"], found["earlier value: webhook"]) == (False, True)


def test_sessions_and_api_keys_that_were_used_since_are_told(app, alice, charlie):
    make(alice, "api-keys", name="Quiet", role="member")
    made = make(alice, "api-keys", name="Busy", role="member")
    since = now()
    client = app.test_client()
    assert client.get("/api/phone-systems", headers={"Authorization": f"Bearer {made['key']}"}).status_code in (
        200,
        403,
    )
    with in_database(app):
        changed = update(UserSession).where(UserSession.id == charlie.session_id).values(used_at=now())
        db.session.execute(changed)
        db.session.commit()
    found = report(app, since)
    used = {what: secret["used"] for what, secret in secrets_of(found, "acme").items()}
    assert used == {"API key Quiet": False, "API key Busy": True}
    [session] = secrets_of(found, "others").values()
    assert (session["what"], session["used"], session["uses"]) == ("sessions of charlie@others.example", True, 1)


def test_a_second_factor_is_used_by_signing_in_with_it_and_told_to_each_tenant_of_the_user(app, alice, charlie):
    with in_database(app):
        user = db.session.get(User, alice.user_id)
        user.totp_secret = "JBSWY3DPEHPK3PXP"
        user.totp_used_step = int(now().timestamp()) // 30 - 60
        db.session.add(Membership(user_id=user.id, tenant_id=charlie.tenant_id, role=Role.MEMBER))
        db.session.add(User(email="nobody@nowhere.example", password_hash="x", totp_secret="JBSWY3DPEHPK3PXP"))
        db.session.commit()
    found = {moment: report(app, now() - moment) for moment in (timedelta(hours=1), timedelta(minutes=5))}
    for moment, used in ((timedelta(hours=1), True), (timedelta(minutes=5), False)):
        for subdomain in ("acme", "others"):
            assert secrets_of(found[moment], subdomain)["second factor of alice@acme.example"]["used"] is used
        assert found[moment]["platform"]["stored"]["second factors of users of no tenant"] == 1


def test_others_go_on_writing_while_it_reads(app, alice):
    make_account(alice)
    with in_database(app):
        engine = direct_engine(app.config["SQLALCHEMY_DATABASE_URI"]).execution_options(sqlite_begin="DEFERRED")
        with engine.connect() as connection:
            tenants = exposed(connection, now() - DAY)
            assert next(tenants).subdomain == "acme"
            make_account(alice)
            assert len(list(tenants)) == 1


def test_a_key_narrows_it_to_what_was_ever_under_it(database_url):
    old, new = (MasterKey(uuid4().bytes * 2) for _ in range(2))
    tenants = [uuid7() for _ in range(4)]
    names = ["rotated", "later", "deleted", "neither"]

    def add_account(tenant_id) -> None:
        db.session.add(PaymentAccount(tenant_id=tenant_id, provider="paypal", mode="live", client_secret="x"))
        db.session.commit()

    def start(*keys):
        return running(make_settings(database_url, keyring=Keyring(keys[0], keys[1:])))

    with start(old) as app, in_database(app):
        app.extensions["encryption"].check_and_register(db.engine)
        for tenant_id, name in zip(tenants, names, strict=True):
            db.session.add(Tenant(id=tenant_id, name=name, subdomain=name))
        db.session.flush()
        add_account(tenants[0])
        db.session.execute(
            insert(AuditEvent).values(
                id=uuid7(),
                tenant_id=tenants[2],
                occurred_at=now(),
                action="payment_account.deleted",
                outcome="success",
                actor_type="user",
                actor_name="",
                object_id=uuid7(),
                details={"provider": "paypal", "mode": "live"},
            )
        )
        db.session.commit()
    with start(new, old) as app:
        assert app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
        with in_database(app):
            add_account(tenants[1])
        since = now() - DAY
        assert [tenant["subdomain"] for tenant in report(app, since, "--key", old.id)["tenants"]] == [
            "rotated",
            "deleted",
        ]
        assert [tenant["subdomain"] for tenant in report(app, since, "--key", new.id)["tenants"]] == [
            "rotated",
            "later",
        ]
        assert f"1 tenant has secrets that existed since {now():%Y-}" not in in_words(app, since, "--key", old.id)
    with start(new) as app:
        arguments = ["encryption", "retire", old.id]
        with start(new, old) as with_both:
            assert with_both.test_cli_runner().invoke(args=arguments).exit_code == 0
        assert report(app, since, "--key", old.id)["count"] == 2


def test_the_id_of_a_jwt_secret_narrows_it_to_sessions(app, alice):
    make_account(alice)
    with in_database(app):
        key_id = app.extensions["signing_keys"].current_id
        db.session.add(SigningKey(id=key_id, first_used_at=now() - DAY))
        db.session.add(SigningKey(id="00000000", first_used_at=now() - 3 * DAY))
        db.session.commit()
    found = report(app, now() - 2 * DAY, "--key", key_id)
    assert {secret["column"] for tenant in found["tenants"] for secret in tenant["secrets"]} == {"sessions"}
    assert report(app, now() - 4 * DAY, "--key", "00000000")["tenants"] == []


@pytest.mark.parametrize("key_id", ["ffffffff", "", "%", "x" * 10_000, "é"])
def test_a_key_that_nobody_has_seen_is_refused(app, key_id):
    registry = app.extensions["encryption"].registry
    with in_database(app):  # a rotation of an empty database is from no key
        begun = {"from_key_ids": "", "to_key_id": "00000000", "started_at": now(), "planned": 0, "rotated": 0}
        db.session.execute(insert(registry.rotations).values(**begun, unreadable=0))
        db.session.commit()
    result = app.test_cli_runner().invoke(
        args=["incident", "report", "--since", "2026-11-01T00:00:00Z", "--key", key_id]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("The database has never seen a key with this id")


@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        "2026-11-01",
        "2026-11-01T00:00:00",
        "2999-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "",
        "2026-11-01T00:00:00Z and more",
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_a_time_in_the_past_with_its_zone_is_a_time(app, time):
    for command in (["report", "--since"], ["rotate-all", "--isolated"]):
        result = app.test_cli_runner().invoke(args=["incident", *command, time])
        assert result.exit_code == 2
        assert "a time in the past, with its time zone" in result.stderr


def test_in_words_it_says_the_same_and_nothing_that_a_terminal_would_obey(app, alice):
    make(alice, "api-credentials", name="Speech", provider="deepgram", secret="canary-5c0de")
    with in_database(app):
        tenant = db.session.get(Tenant, alice.tenant_id)
        tenant.name = "Acme\x1b[2J\nothers"
        tenant.suspended_at = now()
        db.session.commit()
    text = in_words(app, now())
    assert text.splitlines()[:2] == ["acme (Acme?[2J?others, suspended)", "  tell: alice@acme.example (owner)"]
    assert "  API credential Speech (row " in text
    assert "; not used -> deepgram\n" in text
    assert "\n1 tenant has secrets that existed since " in text
    assert "RESEND_API_KEY" in text
    assert "canary-5c0de" not in text
    assert "v1:" not in text


def test_an_empty_database_has_an_empty_report(app):
    found = report(app, now())
    assert (found["tenants"], found["count"]) == ([], 0)
    assert {"ENCRYPTION_KEY", "JWT_SECRET_KEY", "DATABASE_URL"} <= set(found["platform"]["variables"])
    assert in_words(app, now()).startswith("0 tenants have secrets")


def test_who_asks_for_more_than_the_trail_has_is_told(app):
    for since in ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"):
        result = app.test_cli_runner().invoke(args=["incident", "report", "--since", since])
        assert result.exit_code == 0
        assert "Audit events older than 365 days are removed" in result.stderr


def test_nothing_is_opened_and_nothing_changed(app, alice):
    """Not even with a key that opens nothing."""
    make_account(alice)
    with in_database(app):
        stored = db.session.execute(select(PaymentAccount.__table__)).all()
    stranger = make_settings(app.config["SQLALCHEMY_DATABASE_URI"])
    with running(stranger) as other:
        assert report(other, now())["count"] == 1
    with in_database(app):
        assert db.session.execute(select(PaymentAccount.__table__)).all() == stored
        assert db.session.scalars(select(AuditEvent).where(AuditEvent.action.like("incident.%"))).all() == []


def test_many_tenants_and_events_take_no_more_memory_than_a_few(app):
    """Each of the tenants has many events of uses, which are added up as they are read."""

    def fill(tenants: int) -> None:
        with in_database(app):
            ids = [(uuid7(), uuid7()) for _ in range(tenants)]
            db.session.execute(
                insert(Tenant), [{"id": tenant, "name": "x" * 500, "subdomain": f"t{tenant.hex}"} for tenant, _ in ids]
            )
            event = {"action": "secret.used", "outcome": "success", "actor_type": "phone_system", "actor_name": ""}
            details = {"secret": "phone_systems.webhook_password", "padding": "x" * 500}
            db.session.execute(
                insert(AuditEvent),
                [
                    {
                        **event,
                        "id": uuid7(),
                        "tenant_id": tenant,
                        "occurred_at": now(),
                        "object_id": row,
                        "count": 1,
                        "details": details,
                    }
                    for tenant, row in ids
                    for _ in range(10)
                ],
            )
            db.session.commit()

    def peak() -> int:
        tracemalloc.start()
        assert report(app, now() - DAY)["count"] == 0
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    fill(100)
    peak()
    few = peak()
    fill(1500)
    assert peak() < few + 3_000_000
