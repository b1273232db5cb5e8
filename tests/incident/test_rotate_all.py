"""`flask incident rotate-all`: both keys replaced, in three starts of the service with other configurations."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.database import now
from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, OneTimeToken, SigningKey, UserSession
from app.payments.models import PaymentAccount
from tests.conftest import in_database, make_settings, migrate, running, wait_for_senders
from tests.incident.conftest import World, jwt_id, started


def test_three_starts_replace_both_keys_with_a_proof(world, alice):
    first = world.run(world.before)
    assert first.exit_code == 4
    used_before = f"is not new: it was in use before {world.isolated_at:%Y-%m-%dT%H:%M:%SZ}. Make another: python"
    assert first.stdout.splitlines() == [
        "Nothing was changed. Configure this, for every process:",
        f"  JWT_SECRET_KEY, whose id is {jwt_id(world.before)}, {used_before} generate_keys.py --only jwt",
        "  JWT_SECRET_KEY_FALLBACKS must be empty: what an old secret has signed must not count any more.",
        f"  ENCRYPTION_KEY, whose id is {world.old.id}, {used_before} generate_keys.py --only encryption",
        "  ENCRYPTION_KEY_FALLBACKS must have what is needed until everything is sealed anew: the keys with the ids "
        f"{world.old.id}.",
        "Stop every process, start them all with that, and run this command again with the same --isolated.",
    ]
    assert world.events() == []

    second = world.run(world.during, stdin=f"{world.new.id}\n")
    assert second.exit_code == 4, second.output
    assert "ENCRYPTION_KEY_FALLBACKS must be empty. Keep sealed away what it has now" in second.stdout
    assert f" for backups from before: {world.old.id}.\n" in second.stdout
    assert [action for action, _ in world.events()] == [
        "incident.rotation_began",
        "everybody.signed_out",
        "encryption_key.rotated",
        "encryption_key.retired",
    ]

    third = world.run(world.after, "--json")
    assert (third.exit_code, third.stderr) == (0, "")
    proof = json.loads(third.stdout)
    assert proof.pop("by")
    assert proof.pop("finished_at")
    assert proof == {
        "done": True,
        "isolated_at": world.isolated_at.isoformat(),
        "jwt_secret": {"from": jwt_id(world.before), "to": jwt_id(world.after)},
        "sessions_ended": 3,
        "encryption_key": {"from": [world.old.id], "to": world.new.id, "retired": [world.old.id]},
        "values_rotated": 1,
        "values_opened": 1,
    }
    del proof["done"]
    assert world.events()[-1] == ("incident.keys_replaced", proof)


def test_afterwards_old_tokens_are_void_secrets_and_api_keys_work_and_the_old_key_is_retired(world, app, alice):
    key = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "admin"}).json["key"]
    with in_database(app):
        refresh_id = db.session.get(UserSession, alice.session_id).refresh_id
        refresh = tokens.refresh_token(alice.subject, refresh_id, timedelta(hours=1))
    access = alice.client.environ_base["HTTP_AUTHORIZATION"]
    for settings in (world.during, world.after):
        world.run(settings, "--yes")
    with started(world.after) as after:
        client = after.test_client()
        assert client.get("/api/me", headers={"Authorization": access}).status_code == 401
        assert client.post("/api/refresh", headers={"Authorization": f"Bearer {refresh}"}).status_code == 401
        accounts = client.get("/api/payment-accounts", headers={"Authorization": f"Bearer {key}"})
        assert accounts.status_code == 200
        with in_database(after):
            assert db.session.scalars(select(PaymentAccount)).one().client_secret == "canary-x"
            assert db.session.scalars(select(OneTimeToken)).all() == []
            assert db.session.scalars(select(UserSession.ended_at)).all().count(None) == 0
    with pytest.raises(SystemExit) as refused, started(world.before):
        pass
    assert refused.value.code == 78


def test_it_may_be_run_again_at_every_step_and_says_the_same(world):
    for settings, status in ((world.before, 4), (world.during, 4), (world.after, 0)):
        once, again = world.run(settings, "--yes"), world.run(settings, "--yes")
        assert (once.exit_code, again.exit_code) == (status, status)
        seen = [line for line in once.stdout.splitlines() if "as seen by" not in line]
        assert seen == [line for line in again.stdout.splitlines() if "as seen by" not in line]
    actions = [action for action, _ in world.events()]
    assert {action: actions.count(action) for action in actions} == {
        "incident.rotation_began": 1,
        "everybody.signed_out": 1,
        "encryption_key.rotated": 1,
        "encryption_key.retired": 1,
        "incident.keys_replaced": 1,
    }


def test_whoever_signs_in_under_the_new_secret_stays_signed_in(world, app, bob):
    world.run(world.during, "--yes")
    with started(world.after) as after, in_database(after):
        membership = db.session.scalars(select(Membership).where(Membership.user_id == bob.user_id)).one()
        fresh = sessions.start(db.session(), membership, None, "tests").id
    assert world.run(world.after).exit_code == 0
    with running(world.after) as after, in_database(after):
        assert db.session.get(UserSession, fresh).ended_at is None


def test_a_key_that_was_rotated_before_the_service_was_isolated_is_not_new(world):
    """Though it is newer than the beginning of the incident: who was in could read it."""
    with started(world.during) as app, in_database(app):
        assert app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
    world.isolated_at = now()
    result = world.run(world.after)
    assert result.exit_code == 78  # the old key is still registered
    result = world.run(world.during)
    assert result.exit_code == 4
    assert f"ENCRYPTION_KEY, whose id is {world.new.id}, is not new" in result.stdout
    assert f"the keys with the ids {world.new.id}, {world.old.id}." in result.stdout
    assert f"JWT_SECRET_KEY, whose id is {jwt_id(world.during)}, is not new" in result.stdout


def test_sign_ins_after_the_time_say_that_the_service_was_not_isolated_then(world, app, bob):
    """As with the time when the incident began, and a rotation of both keys since."""
    with in_database(app):
        membership = db.session.scalars(select(Membership).where(Membership.user_id == bob.user_id)).one()
        sessions.start(db.session(), membership, None, "tests")
    result = world.run(world.during, "--yes")
    assert "1 session began after that time and before the new JWT secret was in use" in result.stderr
    assert "1 session began after that time" in world.run(world.after).stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_half_that_is_missing_is_asked_for_alone(world):
    fallback = replace(world.during, jwt_secret_key_fallbacks=(world.before.jwt_secret_key,))
    only_jwt = replace(world.during, keyring=world.before.keyring)
    only_encryption = replace(world.before, keyring=world.during.keyring)
    for settings, asked in (
        (fallback, ["JWT_SECRET_KEY_FALLBACKS"]),
        (only_jwt, ["ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS"]),
        (only_encryption, ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS"]),
    ):
        result = world.run(settings, "--json")
        assert result.exit_code == 4
        answer = json.loads(result.stdout)
        assert answer["done"] is False
        _, *lines, _ = answer["next"]
        assert [line.partition(" ")[0].rstrip(",") for line in lines] == asked
    assert world.events() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_the_old_key_as_a_fallback_nothing_is_begun(world):
    result = world.run(world.after, "--yes")
    assert result.exit_code == 78
    assert f"under key {world.old.id}, which is not configured" in result.stderr
    assert world.events() == []


@pytest.mark.parametrize("typed", ["\n", "y\n", "yes\n"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_is_begun_unless_the_new_keys_id_is_typed(world, typed):
    result = world.run(world.during, stdin=typed)
    assert result.exit_code == 1
    assert result.stderr.endswith("Not confirmed: nothing was changed.\n")
    assert world.events() == []


def test_a_value_that_does_not_open_is_told_and_the_old_key_kept(world, app):
    with in_database(app):
        account = db.session.scalars(select(PaymentAccount)).one()
        broken = f"{account.client_secret_encrypted[:-8]}AAAAAAA="
        table = PaymentAccount.__table__
        db.session.execute(update(table).values(client_secret_encrypted=broken))
        db.session.commit()
    result = world.run(world.during, "--yes")
    assert result.exit_code == 1
    assert "does not open: moved, altered or corrupt" in result.stderr
    assert "the old key is not retired" in result.stderr
    with running(world.during) as during, in_database(during):
        registry = during.extensions["encryption"].registry
        assert registry.registered(db.session.connection()) == [world.old.id, world.new.id]
        db.session.execute(update(table).values(client_secret_encrypted=None))
        db.session.commit()
    assert world.run(world.during, "--yes").exit_code == 4
    assert world.run(world.after).exit_code == 0


def test_a_jwt_secret_whose_age_nobody_knows_is_not_new(world, app):
    """After an upgrade from a release that did not write it down."""
    with in_database(app):
        db.session.query(SigningKey).delete()
        db.session.commit()
    result = world.run(world.before)
    assert (
        f"JWT_SECRET_KEY, whose id is {jwt_id(world.before)}, is not new: since when it is in use is not known."
        in result.stdout
    )
    with started(world.during):
        pass
    assert world.run(world.during, "--yes").exit_code == 4
    assert world.run(world.after).exit_code == 0


def test_an_installation_without_anything_in_it_comes_to_the_end_too(tmp_path):
    settings = make_settings(migrate(f"sqlite:///{tmp_path / 'empty.db'}"))
    world = World(settings)
    with started(world.before):
        pass
    world.isolated_at = now()
    assert [world.run(each, "--yes").exit_code for each in (world.before, world.during, world.after)] == [4, 4, 0]
    wait_for_senders()


def test_a_database_that_is_not_migrated_is_told(tmp_path):
    settings = make_settings(f"sqlite:///{tmp_path / 'new.db'}")
    result = World(settings).run(settings)
    assert result.exit_code == 78
    assert "not migrated" in result.stderr
