"""Encrypted attributes of other kinds of models: mixins, other owners, history tables, structured values."""

import json
import traceback
from uuid import uuid4

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.encryption import EncryptionError, encrypted, inventory
from app.encryption.column import EncryptedAttribute
from app.encryption.storage import storage_columns
from app.extensions import db
from tests.encryption import reference
from tests.encryption.models import ApiToken, Base, Company, Device, DeviceVersion, Gateway, Person, Setting


@pytest.fixture
def unsealed(odd_session, keyring):
    """Opens the stored value of an object by the written format, for the owner and the row that are said to bind it."""

    def unsealed(instance, attribute, name, owner, row):
        key, identity = inspect(instance).mapper.primary_key[0], inspect(instance).identity[0]
        table = inspect(instance).mapper.local_table
        value = odd_session.scalar(select(table.c[f"{attribute}_encrypted"]).where(table.c[key.name] == identity))
        return reference.unseal(keyring.secrets()[0], name, owner, row, value).decode()

    return unsealed


@pytest.fixture
def companies(odd_session):
    companies = Company(), Company()
    odd_session.add_all(companies)
    odd_session.commit()
    return companies


def test_a_mixin_brings_its_attribute_with_storage_check_and_foreign_key(odd_session):
    inspector = inspect(odd_session.get_bind())
    assert {"pin_encrypted", "pin_key_id", "pin_changed_at"} <= {c["name"] for c in inspector.get_columns("devices")}
    assert {c["name"] for c in inspector.get_check_constraints("devices")} == {
        "ck_devices_pin_sealed",
        "ck_devices_options_sealed",
    }
    referring = {
        tuple(key["constrained_columns"]): key["referred_table"] for key in inspector.get_foreign_keys("devices")
    }
    assert referring[("pin_key_id",)] == referring[("options_key_id",)] == "encryption_keys"


def test_a_mixins_secret_is_sealed_read_and_moved_like_any_other(odd_session, companies, unsealed):
    device = Device(company=companies[0], pin="1234")
    odd_session.add(device)
    odd_session.commit()
    assert unsealed(device, "pin", "devices.pin", companies[0].id, device.id) == device.pin == "1234"
    device.company = companies[1]
    odd_session.commit()
    assert unsealed(device, "pin", "devices.pin", companies[1].id, device.id) == device.pin == "1234"
    odd_session.scalars(select(Device).where(Device.pin.is_not(None))).one()


def test_a_subclass_seals_reads_and_moves_what_it_inherits(odd_session, companies, unsealed):
    gateway = Gateway(company_id=companies[0].id, pin="1234", options={"a": 1})
    odd_session.add(gateway)
    odd_session.commit()
    gateway.company_id = companies[1].id
    assert gateway.pin == "1234"
    odd_session.commit()
    assert unsealed(gateway, "pin", "devices.pin", companies[1].id, gateway.id) == gateway.pin == "1234"
    assert unsealed(gateway, "options", "devices.options", companies[1].id, gateway.id) == '{"a":1}'
    with pytest.raises(InvalidRequestError, match="cannot bulk-update"):
        odd_session.execute(update(Gateway).values(company_id=companies[0].id))


def test_a_row_without_an_owner_may_be_without_secrets_only(odd_session, companies):
    device = Device(label="unsold")
    odd_session.add(device)
    odd_session.commit()
    device.pin = "1234"
    with pytest.raises(InvalidRequestError, match=r"devices\.pin cannot be sealed while company_id is not set"):
        odd_session.flush()
    odd_session.rollback()
    device.company, device.pin = companies[0], "1234"
    odd_session.commit()
    assert device.pin == "1234"


def test_what_belongs_to_a_user_is_bound_to_the_user(odd_session, unsealed):
    person = Person()
    odd_session.add(person)
    odd_session.flush()
    token = ApiToken(person_id=person.id, token="t0ken")
    odd_session.add(token)
    odd_session.commit()
    assert unsealed(token, "token", "api_tokens.token", person.id, token.id) == token.token == "t0ken"
    with pytest.raises(InvalidRequestError, match="cannot bulk-update person_id of api_tokens"):
        odd_session.execute(update(ApiToken).values(person_id=uuid4()))


def test_a_row_may_own_itself(odd_session, unsealed):
    person = Person(totp_secret="t0tp")
    odd_session.add(person)
    odd_session.commit()
    assert unsealed(person, "totp_secret", "people.totp_secret", person.id, person.id) == person.totp_secret == "t0tp"
    person.id = uuid4()
    odd_session.commit()
    assert unsealed(person, "totp_secret", "people.totp_secret", person.id, person.id) == person.totp_secret == "t0tp"


def test_what_belongs_to_nobody_is_bound_to_the_platform(odd_session, unsealed):
    setting = Setting(name="smtp", value="s3cret")
    odd_session.add(setting)
    odd_session.commit()
    assert unsealed(setting, "value", "settings.value", "platform", "smtp") == '"s3cret"'
    setting.name = "mail"
    odd_session.commit()
    assert unsealed(setting, "value", "settings.value", "platform", "mail") == '"s3cret"'
    assert setting.value == "s3cret"


def test_a_history_row_is_bound_to_the_row_it_was_made_of(odd_session, companies, unsealed):
    device, company = uuid4(), companies[0].id
    versions = [DeviceVersion(device_id=device, company_id=company, pin=pin) for pin in ("one", "two")]
    odd_session.add_all(versions)
    odd_session.commit()
    for version, pin in zip(versions, ("one", "two"), strict=True):
        assert unsealed(version, "pin", "device_versions.pin", company, device) == version.pin == pin
    versions[0].device_id, versions[0].company_id = uuid4(), companies[1].id
    odd_session.commit()
    assert unsealed(versions[0], "pin", "device_versions.pin", companies[1].id, versions[0].device_id) == "one"
    with pytest.raises(InvalidRequestError, match="cannot bulk-update device_id of device_versions"):
        odd_session.execute(update(DeviceVersion).values(device_id=uuid4()))


def test_a_history_rows_own_number_binds_nothing(odd_session, companies):
    version = DeviceVersion(device_id=uuid4(), company_id=companies[0].id, pin="1234")
    odd_session.add(version)
    odd_session.commit()
    before = version.pin_encrypted
    odd_session.execute(update(DeviceVersion).values(number=version.number + 1))
    odd_session.commit()
    odd_session.expunge_all()
    again = odd_session.scalars(select(DeviceVersion)).one()
    assert (again.pin, again.pin_encrypted) == ("1234", before)


def test_a_value_of_the_row_does_not_open_in_its_history(odd_session, companies):
    device = Device(company=companies[0], pin="1234")
    odd_session.add(device)
    odd_session.commit()
    version = DeviceVersion(device_id=device.id, company_id=companies[0].id)
    version.pin_encrypted = device.pin_encrypted
    odd_session.add(version)
    with pytest.raises(EncryptionError, match=r"device_versions\.pin"):
        odd_session.flush()


STRUCTURED = {
    "object": {"user": "u", "password": "pässword", "ports": [5060, 5061]},
    "nested nothing": {"a": None, "b": [None, {}]},
    "empty object": {},
    "empty list": [],
    "empty text": "",
    "the text null": "null",
    "false": False,
    "zero": 0,
    "a fraction": 0.1,
    "a large number": 2**70,
    "text": "🔑\0\u202e",
}


@pytest.mark.parametrize("value", STRUCTURED.values(), ids=STRUCTURED.keys())
def test_a_structured_value_is_compact_json_and_comes_back_as_it_was(value, odd_session, unsealed):
    setting = Setting(name="s", value=value)
    odd_session.add(setting)
    assert setting.value == value
    odd_session.commit()
    odd_session.expire_all()
    assert setting.value == value
    assert type(setting.value) is type(value)
    stored = unsealed(setting, "value", "settings.value", "platform", "s")
    assert stored == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_a_structured_none_is_null(odd_session):
    setting = Setting(name="s", value={"a": 1})
    odd_session.add(setting)
    odd_session.commit()
    setting.value = None
    odd_session.commit()
    assert setting.value is None
    assert odd_session.scalars(select(Setting.name).where(Setting.value.is_(None))).all() == ["s"]
    assert setting.value_encrypted is None


def test_what_is_read_of_a_structured_value_is_a_copy(odd_session):
    setting = Setting(name="s", value={"list": [1]})
    odd_session.add(setting)
    odd_session.commit()
    setting.value["list"].append(2)
    assert setting.value == {"list": [1]}
    assert not odd_session.dirty


NOT_JSON = {
    "bytes": {"password": b"s3cret"},
    "a set": {"s3cret"},
    "half a surrogate pair": {"password": "s3cret\ud800"},
    "half a surrogate pair in a name": {"s3cret\udfff": 1},
    "not a number": {"s3cret": float("nan")},
    "infinity": [float("inf"), "s3cret"],
    "an object": [object(), "s3cret"],
}


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_json_cannot_hold_is_refused_without_being_shown(value, odd_session):
    setting = Setting(name="s")
    with pytest.raises((TypeError, ValueError), match=r"settings\.value") as refusal:
        setting.value = value
    assert "s3cret" not in repr(refusal.value)
    assert "s3cret" not in "".join(traceback.format_exception(refusal.value))
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    assert "value_encrypted" not in vars(setting)


# The inventory


def test_the_inventory_finds_every_encrypted_column_with_what_binds_it():
    found = {
        entry.name: (
            *(entry.table.name, entry.storage.name, entry.key_id.name, entry.changed_at.name),
            *(entry.key.name, entry.owner is not None and entry.owner.name, entry.row.name),
        )
        for entry in inventory(Base.metadata)
    }
    assert found == {
        name: (table, f"{attribute}_encrypted", f"{attribute}_key_id", f"{attribute}_changed_at", *bound)
        for name, table, attribute, bound in [
            ("api_tokens.token", "api_tokens", "token", ("id", "person_id", "id")),
            ("device_versions.pin", "device_versions", "pin", ("number", "company_id", "device_id")),
            ("devices.options", "devices", "options", ("id", "company_id", "id")),
            ("devices.pin", "devices", "pin", ("id", "company_id", "id")),
            ("people.totp_secret", "people", "totp_secret", ("id", "id", "id")),
            ("settings.value", "settings", "value", ("name", False, "name")),
        ]
    }


def test_the_inventory_of_the_app_is_in_the_order_of_tables_and_names():
    found = [(entry.table.name, entry.name) for entry in inventory(db.metadata)]
    assert found == sorted(found)
    assert {
        ("api_credentials", "api_credentials.secret"),
        ("payment_accounts", "payment_accounts.client_secret"),
        ("phone_systems", "phone_systems.password"),
        ("phone_systems", "phone_systems.previous_webhook_password"),
        ("phone_systems", "phone_systems.webhook_password"),
    } <= set(found)


def test_the_inventory_misses_no_encrypted_attribute_of_any_model():
    declared = {
        (mapper.local_table.name, attribute.name)
        for base in (Base, db.Model)
        for mapper in base.registry.mappers
        for cls in mapper.class_.__mro__
        for attribute in vars(cls).values()
        if isinstance(attribute, EncryptedAttribute)
    }
    listed = {(entry.table.name, entry.name) for m in (Base.metadata, db.metadata) for entry in inventory(m)}
    assert listed == declared


def test_the_inventory_of_nothing_is_empty():
    assert inventory(MetaData()) == []


def test_a_table_with_two_primary_key_columns_cannot_have_encrypted_ones():
    metadata = MetaData()
    keys = [Column(name, Integer, primary_key=True) for name in ("id", "tenant_id")]
    Table("pairs", metadata, *keys, *storage_columns("secret", "pairs.secret"))
    with pytest.raises(TypeError, match="pairs has encrypted columns and needs a primary key of one column"):
        inventory(metadata)


def test_a_name_or_an_id_cannot_contain_what_separates_the_parts_of_a_context(odd_session):
    with pytest.raises(ValueError, match=r"cannot contain '\|'"):
        encrypted("phone_systems|password")
    odd_session.add(Setting(name="a|b", value=1))
    with pytest.raises(ValueError, match=r"cannot contain '\|'"):
        odd_session.flush()


def test_a_renamed_attribute_keeps_its_public_name():
    class Renamed(DeclarativeBase):
        pass

    class NewName(Renamed):
        __tablename__ = "new_names"
        id: Mapped[int] = mapped_column(primary_key=True)
        new_name = encrypted("old_names.old_name", owner=None)

    (entry,) = inventory(Renamed.metadata)
    assert (entry.name, entry.table.name, entry.storage.name) == (
        "old_names.old_name",
        "new_names",
        "new_name_encrypted",
    )
