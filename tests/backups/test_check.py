"""Models that the service does not have, or not yet: history tables, other owners, names as primary keys."""

import io
import secrets
from uuid import UUID, uuid4

import pytest

from app.backups import dump
from app.backups.check import RowChecker
from app.backups.reading import Contents
from app.encryption.keyring import Keyring, MasterKey
from tests.encryption import reference
from tests.encryption.models import Base

SECRET = secrets.token_bytes(32)
ODD_NAME = "n" * 32  # as long as a UUID without its dashes


def written(table: str, columns: str, *rows: tuple[object, ...]) -> str:
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    return f"COPY public.{table} ({columns}) FROM stdin;\n{lines}\\.\n\n"


@pytest.mark.parametrize("spelling", [str, lambda uuid: uuid.hex], ids=["with dashes", "without"])
def test_values_are_bound_to_what_their_models_say(spelling):
    company, person, device, token = (uuid4() for _ in range(4))

    def seal(column: str, owner: object, row: object) -> str:
        return reference.seal(SECRET, column, owner, row, b"s3cret")

    def shown(*values: object) -> tuple[object, ...]:
        return tuple(spelling(value) if isinstance(value, UUID) else value for value in values)

    pins = [seal("device_versions.pin", company, device) for _ in range(3)]
    text = (
        written("people", "totp_secret_encrypted, id", shown(seal("people.totp_secret", person, person), person))
        + written(
            "api_tokens",
            "id, person_id, token_encrypted",
            shown(token, person, seal("api_tokens.token", person, token)),
        )
        + written("settings", "name, value_encrypted", (ODD_NAME, seal("settings.value", "platform", ODD_NAME)))
        + written(
            "device_versions",
            "number, device_id, company_id, pin_encrypted",
            *(shown(number, device, company, pin) for number, pin in enumerate(pins)),
            shown(3, uuid4(), company, pins[0]),  # of another device
        )
        + "-- PostgreSQL database dump complete\n"
    )
    checker = RowChecker(Base.metadata, Keyring(MasterKey(SECRET)))
    dump.read(io.BytesIO(text.encode()), checker, Contents())
    rows = checker.rows
    assert {name: counts.total() for name, counts in rows.values.items() if counts} == {
        "people.totp_secret": 1,
        "api_tokens.token": 1,
        "settings.value": 1,
        "device_versions.pin": 4,
    }
    assert (rows.opened, rows.unreadable.total()) == (6, 1)
    (moved,) = rows.listed
    assert (moved.table, moved.column) == ("device_versions", "device_versions.pin")
