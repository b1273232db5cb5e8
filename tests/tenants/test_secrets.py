"""What owners are told about the encryption of their tenant's secrets."""

import secrets as chance
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, text, update

from app.api_keys.authentication import hash_of, make_key
from app.api_keys.models import ApiKey
from app.credentials.models import ApiCredential
from app.database import now
from app.encryption.connections import direct_engine, exclusive
from app.encryption.keyring import Keyring, MasterKey
from app.encryption.rotation import Rotation
from app.extensions import db
from app.identity.models import Membership
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from app.tenancy import tenant_scope
from app.tenants import secrets
from tests.conftest import in_database, running, signed_in
from tests.one_time import statements
from tests.tenancy.conftest import only_postgresql

URL = "/api/encryption"


def store(app, person, count=1):
    """``count`` phone systems with a password, the first of them with one for its webhook; and one of all else."""
    prefix, key = make_key()
    with in_database(app):
        tenant_id = person.tenant_id
        systems = [
            PhoneSystem(tenant_id=tenant_id, name="PBX", vendor="asterisk", password="hunter2") for _ in range(count)
        ]
        systems[0].webhook_password = "hunter2"
        db.session.add_all(systems)
        db.session.add(PhoneSystem(tenant_id=tenant_id, name="No password", vendor="asterisk"))
        db.session.add(PaymentAccount(tenant_id=tenant_id, provider="paypal", mode="live", client_secret="hunter2"))
        db.session.add(ApiCredential(tenant_id=tenant_id, name="Maps", provider="acme", secret="hunter2"))
        db.session.add(
            ApiKey(
                tenant_id=tenant_id,
                name="Wallboard",
                role="member",
                prefix=prefix,
                token_hash=hash_of(key),
                created_by=person.email,
            )
        )
        db.session.commit()


def shown(person):
    answer = person.client.get(URL)
    assert answer.status_code == 200
    return answer.json


def by_kind(found):
    return {kind["name"]: kind["secrets"] for kind in found["kinds"]}


@contextmanager
def with_new_key(settings, person):
    """The application with a new primary key, and the one before to fall back on; that person, signed in to it."""
    keyring = Keyring(MasterKey(chance.token_bytes(32)), [settings.keyring.primary])
    with running(replace(settings, keyring=keyring)) as app:
        with in_database(app):
            app.extensions["encryption"].check_and_register(db.engine)
        yield app, replace(person, client=signed_in(app, person.subject))


def rotation(app, **more):
    encryption = app.extensions["encryption"]
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    return Rotation(url, encryption.registry, encryption.keyring, **more)


def test_every_secret_that_a_tenant_can_have_has_a_name_for_people():
    assert secrets.LABELS.keys() == {column.name for column in secrets.own_columns()}


def test_a_tenant_without_secrets_sees_the_key_that_they_will_be_under(app, alice):
    found = shown(alice)
    assert found["secrets"] == 0
    assert set(by_kind(found).values()) == {0}
    (key,) = found["keys"]
    assert (key["id"], key["primary"], key["secrets"]) == (app.extensions["encryption"].keyring.primary.id, True, 0)
    assert found["last_rotation"] is None


def test_secrets_are_counted_by_kind_and_key_and_never_those_of_others(app, alice, charlie):
    store(app, charlie, 5)
    assert shown(alice)["secrets"] == 0
    store(app, alice, 2)
    found, primary = shown(alice), app.extensions["encryption"].keyring.primary.id
    assert by_kind(found) == {
        "api_credentials.secret": 1,
        "api_keys.token_hash": 1,
        "payment_accounts.client_secret": 1,
        "phone_systems.password": 2,
        "phone_systems.webhook_password": 1,
        "phone_systems.previous_webhook_password": 0,
        "unreadable_deliveries.content": 0,
    }
    assert found["secrets"] == 6
    assert {kind["label"] for kind in found["kinds"]} == set(secrets.LABELS.values())
    counts = [kind["secrets"] for kind in found["kinds"]]
    assert [kind["by_key"] for kind in found["kinds"]] == [{primary: count} if count else {} for count in counts]
    assert [(key["id"], key["secrets"]) for key in found["keys"]] == [(primary, 6)]
    assert by_kind(shown(charlie))["phone_systems.password"] == 5


def test_it_tells_when_secrets_were_set_first_and_last(app, alice):
    store(app, alice, 2)
    long_ago = now() - timedelta(days=400)
    with in_database(app):
        first = db.session.query(PhoneSystem).filter(PhoneSystem.password.is_not(None)).first()
        changed = update(PhoneSystem.__table__).where(PhoneSystem.id == first.id)
        db.session.execute(changed.values(password_changed_at=long_ago))
        db.session.commit()
    with app.app_context(), tenant_scope(alice.tenant_id):
        (kind,) = [it for it in secrets.overview(db.session(), alice.tenant_id).kinds if it.name.endswith("s.password")]
    assert kind.oldest_changed_at == long_ago
    assert now() - timedelta(minutes=1) < kind.newest_changed_at <= now()


@only_postgresql
def test_the_database_itself_counts_no_secret_of_another_tenant(app, alice, charlie):
    store(app, charlie)
    with app.app_context(), tenant_scope(alice.tenant_id):
        assert db.session.scalar(text("SELECT current_user")).startswith("audiapro_web_")
        assert secrets.overview(db.session(), charlie.tenant_id).secrets == 0


def test_it_takes_three_statements_at_the_most_however_many_secrets_there_are(app, alice):
    counts = []
    for _ in range(2):
        store(app, alice, 20)
        with in_database(app), db.engine.begin() as connection:
            record(connection)
        with statements(app) as seen, app.app_context(), tenant_scope(alice.tenant_id):
            secrets.overview(db.session(), alice.tenant_id)
            secrets.last_rotation(db.session())
        counts.append(len([statement for statement in seen if "set_config" not in statement]))
    assert counts[0] == counts[1] <= 3


def record(connection, **values):
    """A rotation that was broken off, unless ``values`` say otherwise."""
    row = {"from_key_ids": "0b5e6f12", "to_key_id": "3f9d2c71", "started_at": now(), "planned": 3, "rotated": 2}
    rotations = db.metadata.tables["encryption_rotations"]
    connection.execute(insert(rotations).values({**row, "unreadable": 0, "proved": 0, **values}))


def test_a_rotation_is_shown_while_it_runs_and_when_it_is_over(app, settings, alice, charlie):
    store(app, alice, 4)
    store(app, charlie, 4)
    with with_new_key(settings, alice) as (app, alice):
        encryption = app.extensions["encryption"]
        old, new = encryption.keyring.fallbacks[0].id, encryption.keyring.primary.id
        before = shown(alice)
        assert [(key["id"], key["primary"], key["secrets"]) for key in before["keys"]] == [
            (new, True, 0),
            (old, False, 8),
        ]
        seen = []
        rotation(app, batch_size=1, on_progress=lambda values: seen.append(shown(alice))).run()
        after = shown(alice)
    assert {(it["last_rotation"]["running"], it["last_rotation"]["proved"]) for it in seen} == {(True, False)}
    assert {it["last_rotation"]["finished_at"] for it in seen} == {None}
    percents = [it["last_rotation"]["percent"] for it in seen]
    assert percents == sorted(percents)
    assert (percents[0] < 50, percents[-1]) == (True, 100)
    assert {it["secrets"] for it in seen} == {8}
    assert any(min(key["secrets"] for key in it["keys"]) > 0 for it in seen)  # some are done, and some are not
    assert [(key["id"], key["secrets"]) for key in after["keys"]] == [(new, 8)]
    last = after["last_rotation"]
    assert (last["from_key_ids"], last["to_key_id"]) == ([old], new)
    assert (last["running"], last["proved"], last["percent"]) == (False, True, 100)
    assert last["started_at"] <= last["finished_at"]


def test_a_rotation_that_is_broken_off_does_not_seem_to_run(app, settings, alice):
    store(app, alice, 4)

    def stop(values):
        raise KeyboardInterrupt

    with with_new_key(settings, alice) as (app, alice):
        with pytest.raises(KeyboardInterrupt):
            rotation(app, batch_size=1, on_progress=stop).run()
        last = shown(alice)["last_rotation"]
        assert (last["running"], last["proved"], last["finished_at"]) == (False, False, None)
        assert 0 < last["percent"] < 100
        rotation(app).run()
        assert shown(alice)["last_rotation"]["proved"]


def test_a_rotation_that_met_a_value_it_could_not_open_is_not_proved(app, settings, alice):
    store(app, alice, 3)
    with in_database(app):
        first, second, *_ = db.session.query(PhoneSystem).filter(PhoneSystem.password.is_not(None)).all()
        value = PhoneSystem.__table__.c.password_encrypted
        moved = update(PhoneSystem.__table__).where(PhoneSystem.id == first.id)
        other = db.select(value).where(PhoneSystem.id == second.id).scalar_subquery()
        db.session.execute(moved.values(password_encrypted=other))  # it opens only where it was
        db.session.commit()
    with with_new_key(settings, alice) as (app, alice):
        rotation(app).run()
        last = shown(alice)["last_rotation"]
    assert (last["running"], last["proved"], last["percent"] < 100) == (False, False, True)
    assert last["finished_at"] is not None


def test_the_share_done_is_rounded_down_and_never_more_than_all(app, alice):
    for values, percent in (
        ({"planned": 1000, "rotated": 999}, 99),
        ({"planned": 10, "rotated": 12}, 100),  # some were written meanwhile by processes with the old key
        ({"planned": 0, "rotated": 0}, 100),
        ({"planned": 3, "rotated": 2, "finished_at": now(), "remaining": 0}, 100),  # one was deleted meanwhile
        ({"planned": 3, "rotated": 2, "finished_at": now(), "remaining": 1}, 66),
    ):
        with in_database(app), db.engine.begin() as connection:
            record(connection, **values)
        assert shown(alice)["last_rotation"]["percent"] == percent


def test_a_rotation_of_another_database_is_not_taken_for_this_ones(app, alice, tmp_path, postgres, database_url):
    elsewhere = f"sqlite:///{tmp_path}/other.db" if database_url.startswith("sqlite") else postgres.url("postgres")
    with in_database(app), db.engine.begin() as connection:
        record(connection)
    engine = direct_engine(elsewhere.replace("postgresql://", "postgresql+psycopg://"))
    with exclusive(engine):
        assert shown(alice)["last_rotation"]["running"] is False


def test_what_is_shown_is_no_more_than_it_says(app, alice, charlie):
    store(app, alice)
    store(app, charlie, 3)
    with in_database(app), db.engine.begin() as connection:
        record(connection, planned=8, rotated=4)
    answer = alice.client.get(URL)
    assert "hunter2" not in answer.text
    assert "v1:" not in answer.text
    assert answer.json.keys() == {"secrets", "kinds", "keys", "last_rotation"}
    assert answer.json["keys"][0].keys() == {"id", "primary", "registered_at", "secrets"}
    assert answer.json["last_rotation"].keys() == {
        "from_key_ids", "to_key_id", "started_at", "finished_at", "running", "percent", "proved"
    }  # fmt: skip


def test_owners_alone_may_ask(app, alice, bob):
    assert bob.client.get(URL).status_code == 403
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role="admin"))
        db.session.commit()
    refused = bob.client.get(URL)
    assert (refused.status_code, refused.json["detail"]) == (403, "Only owners of the organisation may do this.")
