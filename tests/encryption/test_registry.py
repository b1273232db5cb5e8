"""The keys that a database knows: the check at start, retiring, forgetting, reinstating, and who comes first."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from app.encryption import sealed
from app.encryption.keyring import Context, Keyring, MasterKey
from app.encryption.registry import KeyNotChanged, KeyRefused, SealedRow
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import system_scope
from tests.encryption import models, reference
from tests.encryption.databases import Database, id_of, new_key, only_postgresql


def registry_of(app):
    return app.extensions["encryption"].registry


def retire(app, key: str) -> None:
    encryption = app.extensions["encryption"]
    with app.app_context():
        encryption.registry.retire(db.engine, encryption.keyring, id_of(key))


def forget(app, key: str) -> list[SealedRow]:
    encryption = app.extensions["encryption"]
    told: list[SealedRow] = []
    with app.app_context():
        encryption.registry.forget(db.engine, encryption.keyring, id_of(key), told.extend)
    return told


def write_password(app, row: UUID) -> None:
    with app.app_context(), system_scope():  # also in a thread of its own
        db.session.get_one(PhoneSystem, row).password = "s3cret"
        db.session.commit()
        db.session.remove()


def reinstate(app, key: str) -> None:
    with app.app_context():
        registry_of(app).reinstate(db.engine, id_of(key))


@pytest.fixture
def key():
    return new_key()


@pytest.fixture
def old():
    return new_key()


# The check at start


def test_the_first_start_registers_the_primary_key_with_a_canary(database, key):
    app = database.start(key)
    ((key_id, canary),) = database.all("SELECT id, canary FROM encryption_keys")
    secret = bytes.fromhex(key)
    assert key_id == reference.key_id(secret)
    assert reference.unseal(secret, "encryption_keys.canary", "platform", key_id, canary) == b"audiapro"
    assert app.extensions["encryption"].checked is True


def test_a_second_start_changes_nothing(database, key):
    database.start(key)
    before = database.contents()
    assert database.start(key).extensions["encryption"].checked is True
    assert database.contents() == before


def test_fallbacks_are_never_registered(database, key, old):
    database.start(key, old, new_key())
    database.start(key, old)
    assert database.registered() == [id_of(key)]


def test_a_fallback_that_nobody_registered_does_not_make_others_unready(database, key, old):
    """The first step of a rotation: one process has the new key as a fallback already, the other does not know it."""
    database.start(old)
    database.start(old, key)
    database.start(old)


def test_keys_are_registered_in_the_order_of_their_first_start(database):
    keys = [new_key() for _ in range(4)]
    for at, primary in enumerate(keys):
        database.start(primary, *keys[:at])
    database.start(keys[0], *keys[1:])
    assert database.registered() == [id_of(primary) for primary in keys]
    assert [number for (number,) in database.all("SELECT generation FROM encryption_keys ORDER BY 1")] == [1, 2, 3, 4]


def test_a_registered_key_that_is_missing_is_refused_with_the_ways_out(database, key, old):
    database.start(old)
    before = database.contents()
    with pytest.raises(KeyRefused) as refusal:
        database.start(key)
    (problem,) = refusal.value.problems
    for said in (
        id_of(old),
        "ENCRYPTION_KEY_FALLBACKS",
        f"flask encryption retire {id_of(old)}",
        f"flask encryption forget {id_of(old)}",
    ):
        assert said in problem
    assert database.contents() == before


def test_all_missing_keys_are_named_together(database, key):
    first, second = new_key(), new_key()
    database.start(first)
    database.start(second, first)
    with pytest.raises(KeyRefused) as refusal:
        database.start(key)
    assert len(refusal.value.problems) == 2
    for missing in (first, second):
        assert id_of(missing) in str(refusal.value)
        assert missing not in str(refusal.value)


def test_a_missing_key_that_is_configured_as_a_fallback_is_missing_no_more(database, key, old):
    database.start(old)
    database.start(key, old)
    assert database.registered() == [id_of(old), id_of(key)]


def spoiled_canaries(key):
    master, at = MasterKey.parse(key), Context("encryption_keys.canary", "platform", id_of(key))
    impostor = MasterKey.parse(new_key())
    impostor.id = master.id
    return {
        "another key of the same id": sealed.seal(impostor, at, b"audiapro"),
        "another text": sealed.seal(master, at, b"something else"),
        "another place": sealed.seal(master, at._replace(row="00000000"), b"audiapro"),
        "another owner": sealed.seal(master, at._replace(owner=str(uuid4())), b"audiapro"),
        "another key": sealed.seal(MasterKey.parse(new_key()), at, b"audiapro"),
        "corrupt": sealed.seal(master, at, b"audiapro")[:-4] + "AAA=",
    }


@pytest.mark.parametrize("spoiled", spoiled_canaries(new_key()))
@pytest.mark.parametrize("place", ["primary", "fallback"])
def test_a_key_that_does_not_open_its_canary_is_refused(spoiled, place, database, key):
    database.start(key)
    database.all("UPDATE encryption_keys SET canary = :canary", canary=spoiled_canaries(key)[spoiled])
    before = database.contents()
    with pytest.raises(KeyRefused, match=f"{id_of(key)} is not the one that the database knows"):
        database.start(*((key,) if place == "primary" else (new_key(), key)))
    assert database.contents() == before


def test_a_retired_primary_key_is_refused_and_reinstating_is_the_way_back(database, key, old):
    database.start(old)
    retire(database.start(key, old), old)
    before = database.contents()
    with pytest.raises(KeyRefused, match=f"{id_of(old)} was retired on .*flask encryption reinstate {id_of(old)}"):
        database.start(old, key)
    assert database.contents() == before
    reinstate(database.app(old, key), old)
    assert (database.registered(), database.retired()) == ([id_of(key)], set())
    database.start(old, key)
    assert database.registered() == [id_of(key), id_of(old)]


def test_a_retired_fallback_is_no_reason_to_refuse(database, key, old):
    database.start(old)
    app = database.start(key, old)
    retire(app, old)
    database.start(key, old)
    assert database.registered() == [id_of(key)]


def test_all_problems_are_told_together(database, key, old):
    database.start(old)
    retire(database.start(key, old), old)
    with pytest.raises(KeyRefused) as refusal:
        database.start(old)
    assert len(refusal.value.problems) == 2
    assert id_of(key) in refusal.value.problems[0]
    assert "was retired" in refusal.value.problems[1]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request, new_database_url):
    database = Database(new_database_url(request.param))
    yield database
    database.close_apps()
    database.engine.dispose()


def test_an_unmigrated_database_is_fine_and_looked_at_again(empty_database, key):
    app = empty_database.start(key)
    assert app.extensions["encryption"].checked is False
    empty_database.migrate()
    with app.app_context():
        app.extensions["encryption"].check_and_register(db.engine)
    assert app.extensions["encryption"].checked is True
    assert empty_database.registered() == [id_of(key)]


# Retiring


def test_a_retired_key_is_remembered_and_registered_no_more(database, key, old):
    database.start(old)
    app = database.start(key, old)
    retire(app, old)
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})
    with pytest.raises(KeyNotChanged, match=f"{id_of(old)} is not a registered key"):
        retire(app, old)


def test_the_primary_key_cannot_be_retired(database, key):
    with pytest.raises(KeyNotChanged, match=f"{id_of(key)} is the primary key"):
        retire(database.start(key), key)
    assert database.registered() == [id_of(key)]


def test_a_key_that_was_never_registered_cannot_be_retired(database, key, old):
    with pytest.raises(KeyNotChanged, match=f"{id_of(old)} is not a registered key"):
        retire(database.start(key, old), old)
    assert database.retired() == set()


def test_a_key_that_values_need_cannot_be_retired(database, key, old):
    tenant = database.new_tenant()
    with database.start(old).app_context():
        database.new_system(tenant, password="one")
        database.new_system(tenant, password="two", webhook_password="three")
    app = database.start(key, old)
    with pytest.raises(KeyNotChanged) as refusal:
        retire(app, old)
    for said in ("2 of phone_systems.password", "1 of phone_systems.webhook_password", "flask rotate-encryption-key"):
        assert said in str(refusal.value)
    assert (database.registered(), database.retired()) == ([id_of(old), id_of(key)], set())


def test_a_process_that_still_has_a_retired_key_stores_nothing_under_it(database, key, old):
    tenant = database.new_tenant()
    left_behind = database.start(old)
    retire(database.start(key, old), old)
    with left_behind.app_context(), pytest.raises(IntegrityError):
        database.new_system(tenant, password="s3cret")
    assert database.all("SELECT * FROM phone_systems") == []


# Forgetting


@pytest.fixture
def lost(database, key, old):
    """An app whose predecessor's key is lost: two of its values are, and one under the app's own key is not."""
    tenants = database.new_tenant(), database.new_tenant()
    with database.start(old).app_context():
        both = database.new_system(tenants[0], password="lost", webhook_password="lost too")
    with database.start(key, old).app_context():
        kept = database.new_system(tenants[1], password="kept")
    app = database.app(key)
    app.rows = tenants, both, kept
    return app


def test_forgetting_a_lost_key_removes_its_values_tells_which_and_retires_it(lost, database, key, old):
    tenants, both, kept = lost.rows
    database.all(
        "UPDATE phone_systems SET password_changed_at = '2001-01-01', webhook_password_changed_at = '2001-01-01'"
    )
    found = forget(lost, old)
    assert sorted(found, key=lambda row: row.column) == [
        SealedRow("phone_systems.password", str(both), str(tenants[0])),
        SealedRow("phone_systems.webhook_password", str(both), str(tenants[0])),
    ]
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})
    with database.start(key).app_context():
        system = db.session.get_one(PhoneSystem, both)
        assert (system.password, system.webhook_password) == (None, None)
        assert min(system.password_changed_at.year, system.webhook_password_changed_at.year) > 2001
        other = db.session.get_one(PhoneSystem, kept)
        assert (other.password, other.password_changed_at.year) == ("kept", 2001)


def test_a_configured_key_is_not_lost(database, key, old):
    with database.start(old).app_context():
        database.new_system(database.new_tenant(), password="s3cret")
    app = database.start(key, old)
    before = database.contents()
    for configured in (key, old):
        with pytest.raises(KeyNotChanged, match="is configured, so it is not lost"):
            forget(app, configured)
    assert database.contents() == before


def test_a_key_that_is_not_registered_cannot_be_forgotten(lost, database):
    before = database.contents()
    with pytest.raises(KeyNotChanged, match="is not a registered key"):
        forget(lost, new_key())
    assert database.contents() == before


def test_forgetting_tells_users_and_the_platform_as_owners(odd_session, odd_engine, keyring):
    person = models.Person(totp_secret="t0tp")
    odd_session.add_all([person, models.Setting(name="smtp", value=1)])
    odd_session.flush()
    token = models.ApiToken(person_id=person.id, token="t0ken")
    odd_session.add(token)
    version = models.DeviceVersion(device_id=uuid4(), company_id=uuid4(), pin="1234")
    odd_session.add(version)
    odd_session.commit()
    expected = [
        SealedRow("api_tokens.token", str(token.id), str(person.id)),
        SealedRow("device_versions.pin", str(version.number), str(version.company_id)),
        SealedRow("people.totp_secret", str(person.id), str(person.id)),
        SealedRow("settings.value", "smtp", "platform"),
    ]
    odd_session.rollback()
    others = Keyring(MasterKey.parse(new_key()))
    told = []
    models.registry.forget(odd_engine, others, keyring.primary.id, told.extend)
    assert told == expected
    odd_session.expire_all()
    assert odd_session.scalars(select(models.Setting)).one().value is None


# Reinstating


def test_a_key_that_is_not_retired_cannot_be_reinstated(database, key):
    app = database.start(key)
    for not_retired in (key, new_key()):
        with pytest.raises(KeyNotChanged, match="is not a retired key"):
            reinstate(app, not_retired)


# Who comes first


def start_together(database, *keyrings) -> list[BaseException | None]:
    """Start a process for each of the keyrings at the same time; what each of them raised."""
    apps = [database.app(*keyring) for keyring in keyrings]
    barrier = Barrier(len(apps))

    def start(app):
        with app.app_context():
            barrier.wait()
            app.extensions["encryption"].check_and_register(db.engine)

    with ThreadPoolExecutor(len(apps)) as threads:
        return [future.exception() for future in [threads.submit(start, app) for app in apps]]


def test_processes_that_start_together_with_the_same_new_key_register_it_once(database, key, old):
    database.start(old)
    assert start_together(database, *[(key, old)] * 4) == [None] * 4
    assert database.registered() == [id_of(old), id_of(key)]


def test_of_processes_that_start_together_with_different_new_keys_one_is_let_in(database):
    keys = [new_key() for _ in range(4)]
    outcomes = start_together(database, *[(each,) for each in keys])
    assert [type(outcome) for outcome in outcomes if outcome] == [KeyRefused] * 3
    assert database.registered() == [id_of(keys[outcomes.index(None)])]


def before(app, statement: str, act) -> None:
    """Have ``act`` called once, before ``app`` sends a statement that starts like this."""
    done = []

    def intervene(connection, cursor, sql, parameters, context, executemany):
        if not done and sql.strip().startswith(statement):
            done.append(sql)
            act()

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", intervene)


def until_done_or_waiting(future: Future, database) -> None:
    """Return when it is done, or waits for a lock that somebody in this database holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not future.done() and not database.one(waiting):
        pass


@only_postgresql
def test_a_process_that_started_before_its_key_was_retired_does_not_register_it_again(database, key, old):
    """It found its key unknown; before it comes to register it, others register and retire that key."""
    successor = database.start(key)
    slow = database.app(old, key)

    def register_and_retire():
        database.start(old, key)
        retire(successor, old)

    before(slow, "LOCK TABLE", register_and_retire)
    with slow.app_context(), pytest.raises(KeyRefused, match="was retired"):
        slow.extensions["encryption"].check_and_register(db.engine)
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})


@only_postgresql
def test_a_key_is_not_retired_while_a_process_is_about_to_register_it(database, key, old):
    """It is past its check, and sends the INSERT only after others had the time to register and to retire the key."""
    successor = database.start(key)
    slow = database.app(old, key)

    def register_and_retire():
        database.start(old, key)
        retire(successor, old)

    with ThreadPoolExecutor(1) as threads:
        others = []

        def meanwhile():
            others.append(threads.submit(register_and_retire))
            until_done_or_waiting(others[0], database)

        before(slow, "INSERT INTO encryption_keys", meanwhile)
        with slow.app_context():
            slow.extensions["encryption"].check_and_register(db.engine)
        others[0].result()
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})


@only_postgresql
def test_a_second_new_key_is_refused_although_it_was_checked_before_the_first_was_registered(database, key, old):
    slow = database.app(key)
    before(slow, "LOCK TABLE", lambda: database.start(old))
    with slow.app_context(), pytest.raises(KeyRefused, match=id_of(old)):
        slow.extensions["encryption"].check_and_register(db.engine)
    assert database.registered() == [id_of(old)]


@pytest.fixture
def left_behind(database, key, old):
    """A process that still seals under the old key, one that is to retire it, and a row without a secret."""
    writer = database.start(old)
    retiring = database.start(key, old)
    tenant = database.new_tenant()
    with writer.app_context():
        row = database.new_system(tenant)
    return writer, retiring, row


@only_postgresql
def test_a_value_that_arrives_after_the_count_keeps_its_key_from_being_retired(left_behind, database, key, old):
    writer, retiring, row = left_behind

    before(retiring, "DELETE FROM encryption_keys", lambda: write_password(writer, row))
    with pytest.raises(KeyNotChanged, match=f"{id_of(old)} is being written by a running process"):
        retire(retiring, old)
    assert (database.registered(), database.retired()) == ([id_of(old), id_of(key)], set())


@only_postgresql
@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_retiring_waits_for_a_value_that_is_not_committed_yet(outcome, left_behind, database, key, old):
    writer, retiring, row = left_behind
    with writer.app_context(), ThreadPoolExecutor(1) as threads:
        db.session.get_one(PhoneSystem, row).password = "s3cret"
        db.session.flush()
        retired = threads.submit(retire, retiring, old)
        until_done_or_waiting(retired, database)
        assert not retired.done()
        getattr(db.session, outcome)()
        error = retired.exception()
    if outcome == "commit":
        assert isinstance(error, KeyNotChanged)
        assert database.registered() == [id_of(old), id_of(key)]
    else:
        assert error is None
        assert database.retired() == {id_of(old)}


@only_postgresql
def test_sealing_goes_on_while_the_registry_changes(left_behind, database, old):
    """Another process writes in the middle of retiring, and does not have to wait for it."""
    _, retiring, row = left_behind

    with ThreadPoolExecutor(1) as threads:

        def write() -> None:
            threads.submit(write_password, retiring, row).result(timeout=30)

        before(retiring, "INSERT INTO retired_encryption_keys", write)
        retire(retiring, old)
    assert database.retired() == {id_of(old)}


@only_postgresql
def test_every_value_that_is_forgotten_is_told(left_behind, database, key, old):
    """Also one that arrives after its likes were listed, from a process that has the key still."""
    writer, _, row = left_behind
    forgetting = database.app(key)

    before(forgetting, "UPDATE phone_systems", lambda: write_password(writer, row))
    try:
        told = {UUID(found.row) for found in forget(forgetting, old)}
    except KeyNotChanged:
        told = set()
    gone = "SELECT id FROM phone_systems WHERE password_encrypted IS NULL"
    assert {UUID(str(found)) for (found,) in database.all(gone)} == told


def test_what_cannot_be_told_is_not_forgotten(lost, database, old):
    encryption = lost.extensions["encryption"]

    def fail(rows):
        raise OSError("no space left on the device")

    before = database.all("SELECT id, password_encrypted FROM phone_systems ORDER BY id")
    with lost.app_context(), pytest.raises(OSError, match="no space"):
        encryption.registry.forget(db.engine, encryption.keyring, id_of(old), fail)
    assert database.all("SELECT id, password_encrypted FROM phone_systems ORDER BY id") == before
    assert id_of(old) in database.registered()


@only_postgresql
def test_a_value_that_arrives_while_its_key_is_forgotten_is_not_lost_unseen(left_behind, database, key, old):
    writer, _, row = left_behind
    forgetting = database.app(key)

    before(forgetting, "DELETE FROM encryption_keys", lambda: write_password(writer, row))
    with pytest.raises(KeyNotChanged, match=f"{id_of(old)} is being written by a running process"):
        forget(forgetting, old)
    assert database.registered() == [id_of(old), id_of(key)]
    assert database.one("SELECT count(*) FROM phone_systems WHERE password_encrypted IS NOT NULL") == 1
