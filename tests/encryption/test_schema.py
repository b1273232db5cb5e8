"""What the migrated database itself refuses, whoever writes to it."""

from uuid import uuid4

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.encryption import inventory, sealed
from app.encryption.connections import direct_engine
from app.encryption.keyring import Context, MasterKey
from app.extensions import db
from tests.encryption.databases import Database, id_of, new_key, only_sqlite

OTHERS = {
    "phone_systems": "name, vendor) VALUES ('n', 'v'",
    "payment_accounts": "provider, mode) VALUES ('p', 'live'",
    "api_credentials": "name, provider) VALUES ('n', 'p'",
}
COLUMNS = [entry for entry in inventory(db.metadata) if entry.table.name in OTHERS]


@pytest.fixture
def keys(database):
    """A registered key, and one that is retired."""
    retired, registered = new_key(), new_key()
    database.start(retired)
    app = database.start(registered, retired)
    with app.app_context():
        encryption = app.extensions["encryption"]
        encryption.registry.retire(db.engine, encryption.keyring, id_of(retired))
    return registered, retired


@pytest.fixture
def rows(database, keys):
    """A row without secrets in every table that has encrypted columns: its id by the table's name."""
    tenant = database.new_tenant()
    rows = {}
    for table, others in OTHERS.items():
        rows[table] = uuid4()
        start, end = others.split(") VALUES (")
        database.all(
            f"INSERT INTO {table} (id, tenant_id, created_at, updated_at, {start}) "
            f"VALUES (:id, :tenant, '2026-01-01', '2026-01-01', {end})",
            id=rows[table],
            tenant=tenant,
        )
    return rows


def value_under(key: str, plaintext: bytes = b"") -> str:
    """A sealed value; where it belongs is nothing that a database could check."""
    return sealed.seal(MasterKey.parse(key), Context("a.b", "owner", "row"), plaintext)


def put(database: Database, column, row, value) -> None:
    name = f"{column.table.name} SET {column.storage.name}"
    database.all(f"UPDATE {name} = :value WHERE id = :id", value=value, id=row)


REFUSED = {
    "plaintext": lambda registered, retired: "correct horse battery staple",
    "long plaintext": lambda registered, retired: "p" * 200,
    "empty": lambda registered, retired: "",
    "blank": lambda registered, retired: " " * 112,
    "only a prefix": lambda registered, retired: value_under(registered)[:12],
    "too short by one": lambda registered, retired: value_under(registered)[:-1],
    "another version": lambda registered, retired: "v2" + value_under(registered)[2:],
    "upper-case version": lambda registered, retired: "V" + value_under(registered)[1:],
    "no version": lambda registered, retired: value_under(registered, b"x" * 99)[3:],
    "leading blank": lambda registered, retired: " " + value_under(registered),
    "leading line break": lambda registered, retired: "\n" + value_under(registered),
    "full-width colon": lambda registered, retired: "v1\N{FULLWIDTH COLON}" + value_under(registered)[3:],
    "no second colon": lambda registered, retired: value_under(registered).replace(":g", "-g"),
    "lower-case token": lambda registered, retired: value_under(registered).replace(":gAAAA", ":gaaaa"),
    "upper-case token": lambda registered, retired: value_under(registered).replace(":gAAAA", ":GAAAA"),
    "another token": lambda registered, retired: value_under(registered).replace(":gAAAA", ":hAAAA"),
    "a bare token": lambda registered, retired: value_under(registered, b"x" * 99)[12:],
    "upper-case key id": lambda registered, retired: f"v1:ABCDEF01:{value_under(registered)[12:]}",
    "this key's id in upper case": lambda registered, retired: (
        f"v1:{'A' + id_of(registered)[1:]}:{value_under(registered)[12:]}"
    ),
    "blank key id": lambda registered, retired: f"v1:        :{value_under(registered)[12:]}",
    "unknown key": lambda registered, retired: value_under(new_key()),
    "retired key": lambda registered, retired: value_under(retired),
    "LIKE wildcards": lambda registered, retired: f"v1:%%%%%%%%:{value_under(registered)[12:]}",
    "NUL": lambda registered, retired: value_under(registered)[:40] + "\0" + "A" * 100,
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_the_database_refuses_what_is_no_value_under_a_registered_key(make, database, keys, rows):
    value = make(*keys)
    for column in COLUMNS:
        with pytest.raises(DBAPIError):
            put(database, column, rows[column.table.name], value)
        assert database.one(f"SELECT {column.storage.name} FROM {column.table.name}") is None


@pytest.mark.parametrize("make", [REFUSED["plaintext"], REFUSED["retired key"]], ids=["plaintext", "retired key"])
def test_the_database_refuses_it_in_a_new_row_too(make, database, keys, rows):
    value = make(*keys)
    for column in COLUMNS:
        table, (names, values) = column.table.name, OTHERS[column.table.name].split(") VALUES (")
        with pytest.raises(IntegrityError):
            database.all(
                f"INSERT INTO {table} (id, tenant_id, created_at, updated_at, {names}, {column.storage.name}) "
                f"SELECT :id, tenant_id, created_at, updated_at, {values}, :value FROM {table}",
                id=uuid4(),
                value=value,
            )


@only_sqlite  # PostgreSQL has types
def test_sqlite_refuses_the_bytes_of_a_sealed_value(database, keys, rows):
    for column in COLUMNS:
        with pytest.raises(IntegrityError):
            put(database, column, rows[column.table.name], value_under(keys[0]).encode())


@pytest.mark.parametrize("plaintext", [b"", b"s3cret", b"x" * 100_000], ids=["empty", "short", "long"])
def test_the_database_takes_a_value_under_a_registered_key_and_null(plaintext, database, keys, rows):
    value = value_under(keys[0], plaintext)
    for column in COLUMNS:
        selected = f"SELECT {column.storage.name}, {column.key_id.name} FROM {column.table.name}"
        put(database, column, rows[column.table.name], value)
        assert database.all(selected) == [(value, id_of(keys[0]))]
        put(database, column, rows[column.table.name], None)
        assert database.all(selected) == [(None, None)]


def test_the_key_id_cannot_be_written_by_itself(database, keys, rows):
    for column in COLUMNS:
        with pytest.raises(DBAPIError):
            database.all(f"UPDATE {column.table.name} SET {column.key_id.name} = :id", id=id_of(keys[0]))


def test_a_key_cannot_go_while_one_value_needs_it(database, keys, rows):
    for column in COLUMNS:
        put(database, column, rows[column.table.name], value_under(keys[0]))
        for statement in ("DELETE FROM encryption_keys", "UPDATE encryption_keys SET id = 'abcdef01'"):
            with pytest.raises(IntegrityError):
                database.all(statement)
        put(database, column, rows[column.table.name], None)
    database.all("DELETE FROM encryption_keys")


@pytest.mark.parametrize("canary", ["audiapro", "", None, "v2:"])
def test_the_database_refuses_a_canary_that_is_not_sealed(canary, database, keys):
    with pytest.raises(IntegrityError):
        database.all("UPDATE encryption_keys SET canary = :canary", canary=canary)


@only_sqlite  # PostgreSQL always enforces them
def test_foreign_keys_are_enforced_on_every_connection(database, app):
    for engine in (db.engine, direct_engine(database.url), create_engine(database.url)):
        for _ in range(2):
            with engine.connect() as connection:
                assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
            engine.dispose()


def described(engine) -> dict:
    """Checks, foreign keys and generated columns behind encrypted columns, as the database tells them."""
    inspector = inspect(engine)
    return {
        table: (
            sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)),
            sorted(
                (key["name"], key["constrained_columns"], key["referred_table"], key["referred_columns"])
                for key in inspector.get_foreign_keys(table)
            ),
            sorted(
                (column["name"], str(column["type"]), column["nullable"], str(column.get("computed")))
                for column in inspector.get_columns(table)
                if "_encrypted" in column["name"] or "_key_id" in column["name"] or "_changed_at" in column["name"]
            ),
        )
        for table in [entry.table.name for entry in inventory(db.metadata)] + ["encryption_keys"]
    }


def test_the_migrated_schema_has_what_the_models_declare(database, new_database_url):
    from_models = Database(new_database_url(database.dialect))
    db.metadata.create_all(from_models.engine)
    assert described(database.engine) == described(from_models.engine)
    from_models.engine.dispose()


def test_every_encrypted_column_has_a_named_check_and_a_foreign_key(database):
    for entry in inventory(db.metadata):
        checks, foreign_keys, _ = described(database.engine)[entry.table.name]
        attribute = entry.storage.name.removesuffix("_encrypted")
        assert f"ck_{entry.table.name}_{attribute}_sealed" in [name for name, _ in checks]
        assert ([entry.key_id.name], "encryption_keys", ["id"]) in [key[1:] for key in foreign_keys]
