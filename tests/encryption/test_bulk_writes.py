"""What goes past the flush of loaded objects cannot lose or misplace a secret: it is refused, and changes nothing."""

import warnings
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SAWarning, SQLAlchemyError
from sqlalchemy.orm import aliased

from app.encryption import sealed
from app.encryption.column import Pending
from app.encryption.keyring import Context
from app.identity.models import Membership, Role, User
from app.phone_systems.models import PhoneSystem

TABLE = PhoneSystem.__table__
PLAINTEXT = "pa55-in-the-clear"


def values(tenant, **more):
    return {"id": uuid4(), "tenant_id": tenant, "name": "Bulk", "vendor": "v", **more}


def upsert(session, entity):
    """An INSERT of the session's database that can say ON CONFLICT."""
    return {"sqlite": sqlite, "postgresql": postgresql}[session.get_bind().dialect.name].insert(entity)


def on_conflict(session, entity, row, tenant, **set_):
    with_id = values(tenant) | {"id": row}
    return upsert(session, entity).values(with_id).on_conflict_do_update(index_elements=["id"], set_=set_)


def loaded(session, row, **changes):
    system = session.get_one(PhoneSystem, row)
    for name, value in changes.items():
        setattr(system, name, value)
    return system


# Each is called with the session, the id of the stored row, and the id of a tenant that does not own it.
WITH_THE_ATTRIBUTE = {
    "bulk_save_objects, new": lambda s, row, tenant: s.bulk_save_objects(
        [PhoneSystem(**values(tenant, password=PLAINTEXT))]
    ),
    "bulk_save_objects, changed": lambda s, row, tenant: s.bulk_save_objects([loaded(s, row, password=PLAINTEXT)]),
    "bulk_insert_mappings": lambda s, row, tenant: s.bulk_insert_mappings(
        PhoneSystem, [values(tenant, password=PLAINTEXT)]
    ),
    "bulk_update_mappings": lambda s, row, tenant: s.bulk_update_mappings(
        PhoneSystem, [{"id": row, "version": 1, "password": PLAINTEXT}]
    ),
    "insert, list": lambda s, row, tenant: s.execute(insert(PhoneSystem), [values(tenant, password=PLAINTEXT)]),
    "insert, list of two kinds": lambda s, row, tenant: s.execute(
        insert(PhoneSystem), [values(tenant), values(tenant, password=PLAINTEXT)]
    ),
    "insert, dict": lambda s, row, tenant: s.execute(insert(PhoneSystem), values(tenant, password=PLAINTEXT)),
    "insert, values of names": lambda s, row, tenant: s.execute(
        insert(PhoneSystem).values(**values(tenant, password=PLAINTEXT))
    ),
    "insert, values of attributes": lambda s, row, tenant: s.execute(
        insert(PhoneSystem).values({**values(tenant), PhoneSystem.password: PLAINTEXT})
    ),
    "insert, list of values": lambda s, row, tenant: s.execute(
        insert(PhoneSystem).values([values(tenant, password=PLAINTEXT)])
    ),
    "insert, list, returning": lambda s, row, tenant: s.execute(
        insert(PhoneSystem).returning(PhoneSystem), [values(tenant, password=PLAINTEXT)]
    ).all(),
    "update, values of names": lambda s, row, tenant: s.execute(update(PhoneSystem).values(password=PLAINTEXT)),
    "update, values of attributes": lambda s, row, tenant: s.execute(
        update(PhoneSystem).values({PhoneSystem.password: PLAINTEXT})
    ),
    "update, by key": lambda s, row, tenant: s.execute(
        update(PhoneSystem), [{"id": row, "version": 1, "password": PLAINTEXT}]
    ),
    "update, to None": lambda s, row, tenant: s.execute(update(PhoneSystem).values(password=None)),
    "Query.update, names": lambda s, row, tenant: s.query(PhoneSystem).update({"password": PLAINTEXT}),
    "Query.update, attributes": lambda s, row, tenant: s.query(PhoneSystem).update({PhoneSystem.password: PLAINTEXT}),
    "Query.update, unsynchronised": lambda s, row, tenant: s.query(PhoneSystem).update(
        {PhoneSystem.password: PLAINTEXT}, synchronize_session=False
    ),
    "upsert, values": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem).values(values(tenant, password=PLAINTEXT)).on_conflict_do_nothing()
    ),
    "upsert, list": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem).on_conflict_do_nothing(), [values(tenant, password=PLAINTEXT)]
    ),
    "upsert, set": lambda s, row, tenant: s.execute(on_conflict(s, PhoneSystem, row, tenant, password=PLAINTEXT)),
    "upsert, set attributes": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem)
        .values(values(tenant) | {"id": row})
        .on_conflict_do_update(index_elements=["id"], set_={PhoneSystem.password: PLAINTEXT})
    ),
    "upsert, excluded": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem).on_conflict_do_update(
            index_elements=["id"], set_={"name": upsert(s, PhoneSystem).excluded.name}
        ),
        [values(tenant, password=PLAINTEXT) | {"id": row}],
    ),
}

INTO_THE_STORAGE = {
    "insert": lambda s, row, tenant: s.execute(
        insert(PhoneSystem).values(values(tenant, password_encrypted=PLAINTEXT))
    ),
    "insert, list": lambda s, row, tenant: s.execute(
        insert(PhoneSystem), [values(tenant, password_encrypted=PLAINTEXT)]
    ),
    "insert, pending": lambda s, row, tenant: s.execute(
        insert(PhoneSystem), [values(tenant, password_encrypted=Pending(PLAINTEXT.encode()))]
    ),
    "insert, empty": lambda s, row, tenant: s.execute(insert(TABLE).values(values(tenant, password_encrypted=""))),
    "update": lambda s, row, tenant: s.execute(update(PhoneSystem).values(password_encrypted=PLAINTEXT)),
    "update, by key": lambda s, row, tenant: s.execute(
        update(PhoneSystem), [{"id": row, "version": 1, "password_encrypted": PLAINTEXT}]
    ),
    "update, table": lambda s, row, tenant: s.execute(
        update(TABLE).where(TABLE.c.id == row).values(password_encrypted=Pending(PLAINTEXT.encode()))
    ),
    "upsert": lambda s, row, tenant: s.execute(on_conflict(s, TABLE, row, tenant, password_encrypted=PLAINTEXT)),
}

OF_WHAT_BINDS = {
    "update": lambda s, row, tenant: s.execute(update(PhoneSystem).values(tenant_id=tenant)),
    "update, attributes": lambda s, row, tenant: s.execute(
        update(PhoneSystem).where(PhoneSystem.id == row).values({PhoneSystem.tenant_id: tenant})
    ),
    "update, ordered": lambda s, row, tenant: s.execute(
        update(PhoneSystem).ordered_values((PhoneSystem.name, "n"), (PhoneSystem.tenant_id, tenant))
    ),
    "update, parameters": lambda s, row, tenant: s.execute(
        update(TABLE).where(TABLE.c.id == row), {"tenant_id": tenant}
    ),
    "update, computed": lambda s, row, tenant: s.execute(
        update(PhoneSystem).values(tenant_id=bindparam("other", tenant, TABLE.c.tenant_id.type))
    ),
    "update, by key": lambda s, row, tenant: s.execute(
        update(PhoneSystem), [{"id": row, "version": 1, "tenant_id": tenant}]
    ),
    "update, key": lambda s, row, tenant: s.execute(update(PhoneSystem).values(id=uuid4())),
    "update, evaluated": lambda s, row, tenant: s.execute(
        update(PhoneSystem).values(tenant_id=tenant), execution_options={"synchronize_session": "evaluate"}
    ),
    "update, returning": lambda s, row, tenant: s.execute(
        update(PhoneSystem).values(tenant_id=tenant).returning(PhoneSystem.id)
    ),
    "Query.update": lambda s, row, tenant: s.query(PhoneSystem).update({"tenant_id": tenant}),
    "bulk_update_mappings": lambda s, row, tenant: s.bulk_update_mappings(
        PhoneSystem, [{"id": row, "version": 1, "tenant_id": tenant}]
    ),
    "bulk_save_objects": lambda s, row, tenant: s.bulk_save_objects([loaded(s, row, tenant_id=tenant)]),
    "Core, owner": lambda s, row, tenant: s.connection().execute(
        update(TABLE).where(TABLE.c.id == row).values(tenant_id=tenant)
    ),
    "Core, key": lambda s, row, tenant: s.connection().execute(TABLE.update().values({TABLE.c.id: uuid4()})),
    "Core, ordered": lambda s, row, tenant: s.connection().execute(
        update(TABLE).ordered_values((TABLE.c.name, "n"), (TABLE.c.tenant_id, tenant))
    ),
    "Core, many": lambda s, row, tenant: s.connection().execute(
        update(TABLE).where(TABLE.c.id == bindparam("row")), [{"row": row, "tenant_id": tenant}] * 2
    ),
    "Core, alias": lambda s, row, tenant: s.connection().execute(update(TABLE.alias()).values(tenant_id=tenant)),
    "Core, one of two secrets with it": lambda s, row, tenant: s.connection().execute(
        update(TABLE).values(tenant_id=tenant, webhook_password_encrypted=None)
    ),
    "ORM, alias": lambda s, row, tenant: s.execute(update(aliased(PhoneSystem)).values(tenant_id=tenant)),
    "upsert": lambda s, row, tenant: s.execute(on_conflict(s, PhoneSystem, row, tenant, tenant_id=tenant)),
    "upsert, attributes": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem)
        .values(values(tenant) | {"id": row})
        .on_conflict_do_update(index_elements=["id"], set_={PhoneSystem.tenant_id: tenant})
    ),
    "upsert, table": lambda s, row, tenant: s.connection().execute(
        on_conflict(s, TABLE, row, tenant, tenant_id=upsert(s, TABLE).excluded.tenant_id)
    ),
    "upsert, key": lambda s, row, tenant: s.execute(on_conflict(s, TABLE, row, tenant, id=uuid4())),
    "upsert, list": lambda s, row, tenant: s.execute(
        upsert(s, PhoneSystem).on_conflict_do_update(index_elements=["id"], set_={"tenant_id": tenant}),
        [values(tenant) | {"id": row}],
    ),
}


def is_refused(statement, session, stored, tenants):
    before = stored.database.contents()
    with pytest.raises(SQLAlchemyError) as refusal, warnings.catch_warnings(action="ignore", category=SAWarning):
        _ = statement(session, stored.id, tenants[1]), session.commit()
    session.rollback()
    assert PLAINTEXT not in str(refusal.value)
    assert stored.database.contents() == before
    assert stored.secret() == "s3cret"
    return refusal.value


@pytest.mark.parametrize("statement", WITH_THE_ATTRIBUTE.values(), ids=WITH_THE_ATTRIBUTE.keys())
def test_a_bulk_write_of_the_attribute_is_refused(statement, session, stored, tenants):
    is_refused(statement, session, stored, tenants)


@pytest.mark.parametrize("statement", INTO_THE_STORAGE.values(), ids=INTO_THE_STORAGE.keys())
def test_what_is_not_sealed_does_not_get_past_the_column_type(statement, session, stored, tenants):
    refusal = is_refused(statement, session, stored, tenants)
    assert "only a sealed value may be stored in an encrypted column" in str(refusal)


@pytest.mark.parametrize("statement", OF_WHAT_BINDS.values(), ids=OF_WHAT_BINDS.keys())
def test_a_bulk_update_of_owner_or_key_is_refused(statement, session, stored, tenants):
    refusal = is_refused(statement, session, stored, tenants)
    assert "cannot bulk-update" in str(refusal)


def test_other_columns_can_be_updated_in_bulk(session, stored, tenants):
    before = stored.column("password_encrypted")
    session.execute(update(PhoneSystem).where(PhoneSystem.tenant_id == tenants[0]).values(name="one"))
    assert stored_name(session, stored) == "one"
    session.execute(update(PhoneSystem), [{"id": stored.id, "version": 1, "name": "two"}])
    session.query(PhoneSystem).filter_by(id=stored.id).update({"vendor": "v"})
    session.bulk_update_mappings(PhoneSystem, [{"id": stored.id, "version": 2, "username": "u"}])
    session.connection().execute(
        update(TABLE).where(TABLE.c.id == bindparam("row")), {"row": stored.id, "base_url": "b"}
    )
    session.execute(on_conflict(session, PhoneSystem, stored.id, tenants[0], time_zone="UTC"))
    session.commit()
    columns = ("name", "vendor", "username", "base_url", "time_zone")
    assert [stored.column(name) for name in columns] == ["two", "v", "u", "b", "UTC"]
    assert stored.column("password_encrypted") == before


def stored_name(session, stored):
    session.commit()
    return stored.column("name")


def test_rows_without_secrets_can_be_inserted_in_bulk(session, stored, tenants):
    session.execute(insert(PhoneSystem), [values(tenants[0]), values(tenants[1])])
    session.execute(insert(PhoneSystem).values(values(tenants[1])))
    session.bulk_insert_mappings(PhoneSystem, [values(tenants[1])])
    session.bulk_save_objects([PhoneSystem(**values(tenants[1]))])
    session.commit()
    assert stored.database.one("SELECT count(*) FROM phone_systems WHERE password_encrypted IS NULL") == 5


def test_a_core_update_that_brings_every_value_sealed_anew_may_move_a_row(session, stored, tenants):
    context = Context("phone_systems.password", str(tenants[1]), str(stored.id))
    session.execute(
        update(TABLE).values(
            tenant_id=tenants[1],
            password_encrypted=sealed.seal(stored.keyring.primary, context, b"anew"),
            webhook_password_encrypted=None,
            previous_webhook_password_encrypted=None,
        )
    )
    session.commit()
    assert (stored.tenant(), stored.secret()) == (tenants[1], "anew")


def test_what_no_secret_is_bound_to_can_be_updated_in_bulk(session, tenants):
    user = User(email="bob@acme.example", password_hash="-")
    session.add(Membership(user=user, tenant_id=tenants[0], role=Role.MEMBER))
    session.commit()
    session.execute(update(Membership).values(tenant_id=tenants[1]))
    session.commit()
    assert user.memberships[0].tenant_id == tenants[1]
