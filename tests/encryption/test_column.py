"""The life of an encrypted attribute in a session: assigned, sealed, read, moved, removed."""

from itertools import permutations
from uuid import uuid4

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import Session, load_only
from sqlalchemy.orm.exc import StaleDataError

from app.encryption import EncryptionError, sealed
from app.encryption.sealed import DoesNotOpen
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant


def new_system(tenant=None, **values):
    return PhoneSystem(tenant_id=tenant, name="Reception", vendor="asterisk", **values)


def load(session, stored):
    return session.get_one(PhoneSystem, stored.id)


@pytest.fixture
def opened(monkeypatch):
    """The contexts of all values that were opened."""
    contexts = []
    really_open = sealed.open

    def open(keyring, context, value):
        contexts.append(context)
        return really_open(keyring, context, value)

    monkeypatch.setattr(sealed, "open", open)
    return contexts


# Assigning


@pytest.mark.parametrize("order", [" ".join(steps) for steps in permutations(["id", "tenant_id", "password", "add"])])
def test_owner_key_and_secret_may_be_set_in_any_order(order, session, tenants, stored):
    values = {"id": uuid4(), "tenant_id": tenants[1], "password": "pa55"}
    system = new_system()
    with session.no_autoflush:
        for step in order.split():
            if step == "add":
                session.add(system)
            else:
                setattr(system, step, values[step])
        session.commit()
    assert stored.at(values["id"]).secret() == system.password == "pa55"


def test_the_primary_key_is_made_at_the_flush_when_none_was_set(session, tenants, stored):
    system = new_system(tenants[1], password="pa55")
    assert system.id is None
    session.add(system)
    session.commit()
    assert stored.at(system.id).secret() == "pa55"


def test_a_new_owner_may_be_stored_in_the_same_flush(session, stored):
    tenant = Tenant(name="New", subdomain="new")
    system = PhoneSystem(tenant=tenant, name="n", vendor="v", password="pa55")
    session.add(system)
    session.commit()
    found = stored.at(system.id)
    assert (found.tenant(), found.secret()) == (tenant.id, "pa55")


def test_nothing_is_sealed_before_the_flush(session, tenants, monkeypatch):
    sealed_for = []
    really_seal = sealed.seal
    monkeypatch.setattr(sealed, "seal", lambda *args: sealed_for.append(args[1]) or really_seal(*args))
    system = new_system(tenants[0], password="pa55")
    session.add(system)
    assert system.password == "pa55"
    assert not sealed_for
    session.flush()
    assert [context.row for context in sealed_for] == [str(system.id)]


def test_the_last_of_several_assignments_counts(session, stored):
    system = load(session, stored)
    for text in ("one", None, "two"):
        system.password = text
        assert system.password == text
    session.commit()
    assert stored.secret() == "two"


def test_two_secrets_of_a_row_are_kept_apart(session, stored):
    system = load(session, stored)
    system.password, system.webhook_password = "one", "two"
    session.commit()
    assert (stored.secret(), stored.secret("webhook_password")) == ("one", "two")
    assert (system.password, system.webhook_password) == ("one", "two")


def test_an_empty_text_is_a_value_and_none_is_none(session, stored):
    system = load(session, stored)
    system.password, system.webhook_password = "", None
    session.commit()
    session.expire_all()
    assert (system.password, system.webhook_password) == ("", None)
    assert stored.secret() == ""
    assert stored.column("webhook_password_encrypted") is None


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "🔑👩‍👩‍👧", "\u202e\u05e9\u05dc\u05d5\u05dd", " \n", "v1:00000000:gAAAA", "x" * 2**20]
)
def test_odd_texts_come_back_as_they_were(text, session, stored):
    system = load(session, stored)
    system.password = text
    session.commit()
    session.expire_all()
    assert system.password == stored.secret() == text


@pytest.mark.parametrize("value", [b"s3cret-bytes", 533737, ["s3cret"], {"s": "s3cret"}, 1.5, True], ids=repr)
def test_what_is_not_text_is_refused_without_being_shown(value, session, stored):
    system = load(session, stored)
    with pytest.raises(TypeError, match=r"phone_systems\.password holds text") as refusal:
        system.password = value
    assert "s3cret" not in repr(refusal.value)
    assert "533737" not in repr(refusal.value)
    session.commit()
    assert stored.secret() == "s3cret"


@pytest.mark.parametrize("text", ["s3cret\ud800", "\udfffs3cret", "\udbff"], ids=ascii)
def test_half_a_surrogate_pair_is_refused_without_being_shown(text, session, stored):
    with pytest.raises(ValueError, match=r"phone_systems\.password cannot hold half a surrogate pair") as refusal:
        load(session, stored).password = text
    assert "s3cret" not in repr(refusal.value)
    assert refusal.value.__cause__ is refusal.value.__context__ is None


def test_an_owner_of_none_is_refused_and_nothing_is_stored(session, database, tenants):
    session.add(new_system(password="pa55"))
    with pytest.raises(InvalidRequestError, match=r"phone_systems\.password cannot be sealed while tenant_id"):
        session.flush()
    session.rollback()
    assert not database.all("SELECT id FROM phone_systems")


def test_a_row_does_not_lose_its_owner_with_a_secret_in_it(session, stored):
    load(session, stored).tenant_id = None
    with pytest.raises(InvalidRequestError, match=r"phone_systems\.password cannot be sealed while tenant_id"):
        session.flush()
    session.rollback()
    assert stored.secret() == "s3cret"


# Reading


def test_reading_decrypts_and_loading_does_not(session, stored, opened):
    session.expire_all()
    (system,) = session.scalars(select(PhoneSystem))
    system.name = "Changed"
    session.commit()
    session.refresh(system)
    assert opened == []
    assert system.password == "s3cret"
    assert len(opened) == 1
    assert system.password == "s3cret"
    assert len(opened) == 2  # the plaintext is kept nowhere


def test_what_is_null_is_read_without_decrypting(session, stored, opened):
    assert load(session, stored).webhook_password is None
    assert opened == []


def test_changing_something_else_leaves_the_sealed_value_alone(session, stored):
    before = stored.column("password_encrypted")
    load(session, stored).name = "Changed"
    session.commit()
    assert stored.column("name") == "Changed"
    assert stored.column("password_encrypted") == before


def test_a_value_that_does_not_open_says_where_it_is(session, stored, database, tenants):
    database.all("UPDATE phone_systems SET tenant_id = :other", other=tenants[1])
    with pytest.raises(
        DoesNotOpen, match=f"phone_systems.password of row {stored.id} .*key id {stored.keyring.primary.id}"
    ):
        _ = load(session, stored).password


def test_a_value_under_a_fallback_is_read_and_stays_until_it_is_set_again(database, stored, session):
    key, old = (secret.hex() for secret in reversed(stored.keyring.secrets()))
    session.remove()
    with database.start(key, old).app_context():
        system = load(db.session, stored)
        system.name = "Changed"
        db.session.commit()
        assert system.password == "s3cret"
        assert stored.column("password_key_id") == stored.keyring.primary.id
        system.password = "anew"
        db.session.commit()
        assert stored.column("password_key_id") == stored.keyring.fallbacks[0].id


# Moving to another owner


def unloaded(session, stored):
    """The row with nothing loaded but its key, its owner and its name."""
    only = load_only(PhoneSystem.name, raiseload=False)
    return session.scalars(select(PhoneSystem).options(only).where(PhoneSystem.id == stored.id)).one()


def expired(session, stored):
    system = load(session, stored)
    session.expire(system)
    return system


def expired_secret(session, stored):
    system = load(session, stored)
    session.expire(system, ["password_encrypted"])
    return system


@pytest.mark.parametrize("state", [load, unloaded, expired, expired_secret])
@pytest.mark.parametrize("secret_read", [False, True], ids=["unread", "read"])
def test_a_moved_row_is_sealed_for_its_new_owner(state, secret_read, session, stored, tenants):
    before = stored.column("password_encrypted")
    system = state(session, stored)
    system.tenant_id = tenants[1]
    if secret_read:
        assert system.password == "s3cret"  # of the committed owner, which the flush has yet to change
    session.commit()
    assert stored.tenant() == tenants[1]
    assert stored.secret() == system.password == "s3cret"
    assert stored.column("password_encrypted") != before
    assert stored.column("webhook_password_encrypted") is None


@pytest.mark.parametrize("state", [load, unloaded, expired])
def test_a_row_moved_by_its_relationship_is_sealed_for_its_new_owner(state, session, stored, tenants):
    system = state(session, stored)
    system.tenant = session.get_one(Tenant, tenants[1])
    session.commit()
    assert stored.tenant() == tenants[1]
    assert stored.secret() == system.password == "s3cret"


@pytest.mark.parametrize("moved_first", [False, True], ids=["secret first", "owner first"])
@pytest.mark.parametrize("new", ["pa55", "", None])
def test_a_secret_changed_in_the_flush_that_moves_it_belongs_to_the_new_owner(
    moved_first, new, session, stored, tenants
):
    system = load(session, stored)
    for attribute, value in sorted({"tenant_id": tenants[1], "password": new}.items(), reverse=moved_first):
        setattr(system, attribute, value)
    assert system.password == new
    session.commit()
    assert stored.tenant() == tenants[1]
    assert stored.secret() == system.password == new


def test_a_row_without_secrets_can_be_moved(session, stored, tenants):
    system = load(session, stored)
    system.password = None
    session.commit()
    system.tenant_id = tenants[1]
    session.commit()
    assert stored.tenant() == tenants[1]
    assert stored.secret() is None


def test_all_secrets_of_a_row_move_together(session, stored, tenants):
    system = load(session, stored)
    system.webhook_password = "hook"
    session.commit()
    system.tenant_id = tenants[1]
    session.commit()
    assert (stored.secret(), stored.secret("webhook_password")) == ("s3cret", "hook")


def test_a_row_moved_there_and_back_before_the_flush_keeps_its_sealed_value(session, stored, tenants):
    before = stored.column("password_encrypted")
    system = load(session, stored)
    system.tenant_id = tenants[1]
    system.tenant_id = tenants[0]
    system.name = "Changed"
    session.commit()
    assert stored.column("password_encrypted") == before
    assert stored.secret() == "s3cret"


def test_a_row_can_be_moved_several_times_in_one_transaction(session, stored, tenants):
    system = load(session, stored)
    for tenant in (tenants[1], tenants[0], tenants[1]):
        system.tenant_id = tenant
        assert system.password == "s3cret"
        session.flush()
        assert system.password == "s3cret"
    session.commit()
    assert stored.tenant() == tenants[1]
    assert stored.secret() == "s3cret"


def test_a_row_whose_primary_key_changes_is_sealed_for_the_new_one(session, stored):
    system = load(session, stored)
    system.id = new_id = uuid4()
    assert system.password == "s3cret"
    session.commit()
    assert stored.at(new_id).secret() == system.password == "s3cret"


@pytest.mark.parametrize("state", [load, expired_secret])
def test_owner_and_primary_key_may_change_together(state, session, stored, tenants):
    system = state(session, stored)
    system.id, system.tenant_id = new_id, _ = uuid4(), tenants[1]
    session.commit()
    assert stored.at(new_id).secret() == "s3cret"


def test_a_value_that_does_not_open_cannot_be_moved(session, stored, database, tenants):
    database.all("UPDATE phone_systems SET tenant_id = :other", other=tenants[1])
    before = stored.column("password_encrypted")
    load(session, stored).tenant_id = tenants[0]
    with pytest.raises(DoesNotOpen):
        session.flush()
    session.rollback()
    assert stored.column("password_encrypted") == before


def test_an_owner_written_as_other_text_of_the_same_id_is_the_same_owner(session, stored, tenants):
    """PostgreSQL takes any spelling of a UUID, SQLite takes none but the object: sealed rightly, or refused."""
    system = new_system(str(tenants[1]).upper(), password="pa55")
    session.add(system)
    try:
        session.commit()
    except Exception:
        session.rollback()
        return
    assert stored.at(system.id).secret() == "pa55"


def test_an_owner_that_the_database_computes_is_refused(session, stored, tenants):
    """What it will be is not known when the value is sealed."""
    computed = select(Tenant.id).where(Tenant.id == tenants[1]).scalar_subquery()
    session.add(new_system(computed, password="pa55"))
    with pytest.raises(InvalidRequestError, match="tenant_id binds encrypted values"):
        session.flush()
    session.rollback()
    load(session, stored).tenant_id = computed
    with pytest.raises(InvalidRequestError, match="tenant_id binds encrypted values"):
        session.flush()
    session.rollback()
    assert stored.secret() == "s3cret"


# Sessions


def test_a_rollback_forgets_the_plaintext(session, stored):
    system = load(session, stored)
    system.password = "pa55"
    session.rollback()
    assert "password_encrypted" not in vars(system)
    assert system.password == "s3cret"
    session.commit()
    assert stored.secret() == "s3cret"


def test_a_rollback_after_the_flush_brings_the_stored_value_back(session, stored, tenants):
    system = load(session, stored)
    system.password, system.tenant_id = "pa55", tenants[1]
    session.flush()
    assert system.password == "pa55"
    session.rollback()
    assert system.password == "s3cret"


def test_a_savepoint_that_is_rolled_back_brings_the_value_before_it_back(session, stored, tenants):
    system = load(session, stored)
    system.password = "before"
    with session.begin_nested() as savepoint:
        system.password, system.tenant_id = "inside", tenants[1]
        session.flush()
        savepoint.rollback()
    assert system.password == "before"
    session.commit()
    assert stored.secret() == "before"


def test_a_new_row_that_the_database_refused_can_be_added_again(session, stored, tenants):
    system = new_system(uuid4(), password="pa55")
    session.add(system)
    with pytest.raises(IntegrityError):
        session.flush()
    session.rollback()
    system.tenant_id, system.password = tenants[1], "pa55"
    session.add(system)
    session.commit()
    assert stored.at(system.id).secret() == "pa55"


def test_an_expunged_row_keeps_its_pending_secret_until_it_is_added_again(session, stored):
    system = load(session, stored)
    system.password = "pa55"
    session.expunge(system)
    assert system.password == "pa55"
    session.add(system)
    session.commit()
    assert stored.secret() == "pa55"


def test_a_refresh_gives_up_what_was_assigned(session, stored):
    system = load(session, stored)
    system.password = "pa55"
    session.refresh(system)
    assert system.password == "s3cret"


def test_a_detached_row_is_read_without_a_session(session, stored):
    system = load(session, stored)
    session.expunge(system)
    session.rollback()
    assert system.password == "s3cret"


def test_merge_takes_a_pending_secret_along(session, stored, tenants):
    session.merge(PhoneSystem(id=stored.id, password="merged"))
    session.commit()
    assert stored.secret() == "merged"
    new = session.merge(new_system(tenants[1], id=uuid4(), password="merged too"))
    session.commit()
    assert stored.at(new.id).secret() == "merged too"


def test_merge_removes_a_secret_that_is_none_and_keeps_one_that_is_not_given(session, stored):
    session.merge(PhoneSystem(id=stored.id, name="Merged"))
    session.commit()
    assert (stored.column("name"), stored.secret()) == ("Merged", "s3cret")
    session.merge(PhoneSystem(id=stored.id, password=None))
    session.commit()
    assert stored.secret() is None


def test_merge_moves_a_row_with_its_secret(session, stored, tenants):
    session.merge(PhoneSystem(id=stored.id, tenant_id=tenants[1]))
    session.commit()
    assert (stored.tenant(), stored.secret()) == (tenants[1], "s3cret")


def test_merge_moves_a_row_that_was_changed_while_detached(session, stored, tenants):
    system = load(session, stored)
    session.expunge(system)
    system.tenant_id = tenants[1]
    merged = session.merge(system)
    assert merged.password == "s3cret"
    session.commit()
    assert (stored.tenant(), stored.secret()) == (tenants[1], "s3cret")


def test_two_sessions_change_two_secrets_of_a_row(session, stored):
    with Session(db.engine) as other:
        system, same = load(session, stored), None
        session.commit()
        same = load(other, stored)
        same.webhook_password = "theirs"
        other.commit()
        system.password = "ours"
        with pytest.raises(StaleDataError):  # the row is not the one that this session read
            session.commit()
        session.rollback()
        assert (stored.secret(), stored.secret("webhook_password")) == ("s3cret", "theirs")
        system.password = "ours"
        session.commit()
    assert (stored.secret(), stored.secret("webhook_password")) == ("ours", "theirs")


def test_a_session_sees_what_another_one_committed(session, stored, tenants):
    system = load(session, stored)
    session.commit()
    with Session(db.engine) as other:
        same = load(other, stored)
        same.password, same.tenant_id = "theirs", tenants[1]
        other.commit()
    session.expire_all()
    assert (system.password, system.tenant_id) == ("theirs", tenants[1])


# A sealed value set by hand


def test_a_sealed_value_copied_from_another_row_is_refused(session, stored, tenants):
    copy = new_system(tenants[0])
    copy.password_encrypted = load(session, stored).password_encrypted
    session.add(copy)
    with pytest.raises(EncryptionError, match=r"phone_systems\.password of row"):
        session.flush()


def test_a_sealed_value_copied_from_another_column_is_refused(session, stored):
    system = load(session, stored)
    system.webhook_password_encrypted = system.password_encrypted
    with pytest.raises(EncryptionError, match=r"phone_systems\.webhook_password"):
        session.flush()


@pytest.mark.parametrize("text", ["in the clear", "", "v1:"])
def test_what_is_not_sealed_is_refused_in_place_of_a_sealed_value(text, session, stored):
    load(session, stored).password_encrypted = text
    with pytest.raises(EncryptionError, match=r"phone_systems\.password of row .* is not a sealed value"):
        session.flush()


def test_a_sealed_value_put_back_where_it_belongs_is_taken(session, stored):
    system = load(session, stored)
    before = system.password_encrypted
    system.password = "pa55"
    session.commit()
    system.password_encrypted = before
    session.commit()
    assert stored.secret() == "s3cret"


# When it was changed


def changed_at(stored, attribute="password"):
    return stored.column(f"{attribute}_changed_at")


@pytest.fixture
def long_ago(stored):
    """The row with a secret changed at this moment, and one for the webhook that never was."""
    moment = "2001-02-03 04:05:06.000000"
    stored.database.all("UPDATE phone_systems SET password_changed_at = :moment", moment=moment)
    return changed_at(stored)


@pytest.mark.parametrize("value", ["pa55", "s3cret", "", None])
def test_the_time_of_the_last_change_moves_when_a_secret_is_set_or_removed(value, session, stored, long_ago):
    system = load(session, stored)
    system.password = value
    session.commit()
    assert changed_at(stored) > long_ago
    assert changed_at(stored, "webhook_password") is None
    session.expire_all()
    assert system.password_changed_at.utcoffset().total_seconds() == 0


def test_the_time_of_the_last_change_stays_when_a_row_moves(session, stored, long_ago, tenants):
    system = load(session, stored)
    system.tenant_id = tenants[1]
    session.commit()
    system.id = uuid4()
    session.commit()
    session.expire_all()
    assert system.password_changed_at.year == 2001
    assert system.webhook_password_changed_at is None


def test_the_time_of_the_last_change_stays_when_something_else_changes(session, stored, long_ago):
    load(session, stored).webhook_password = "hook"
    session.commit()
    assert changed_at(stored) == long_ago
    assert changed_at(stored, "webhook_password") > long_ago


@pytest.mark.parametrize("values", [{}, {"password": None}], ids=["not given", "None"])
def test_a_secret_that_never_was_has_no_time_of_change(values, session, tenants):
    system = new_system(tenants[0], **values)
    session.add(system)
    session.commit()
    assert system.password_changed_at is None


@pytest.mark.parametrize("state", [load, expired, unloaded])
def test_removing_what_is_not_there_is_no_change(state, session, stored):
    state(session, stored).webhook_password = None
    session.commit()
    assert changed_at(stored, "webhook_password") is None


# The class


def test_the_storage_is_part_of_the_mapping():
    assert {"password_encrypted", "password_key_id", "password_changed_at"} <= set(inspect(PhoneSystem).columns.keys())
