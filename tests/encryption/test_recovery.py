"""The recipe of docs/encryption.md gets every secret back from a dump, with the key and nothing of ours."""

import base64
import csv
import re
import subprocess
import sys
from uuid import UUID

import pytest

from app.credentials.models import ApiCredential
from app.encryption import inventory
from app.extensions import db
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from tests.encryption import reference
from tests.encryption.databases import ROOT, new_key

TEXTS = ["s3cret", "", "🔑", "\u202e\u05e9\u05dc\u05d5\u05dd", "x" * 100_000]


def documentation() -> str:
    return (ROOT / "docs/encryption.md").read_text(encoding="utf-8")


def recipe() -> str:
    (found,) = re.findall(r"```python\n(import base64.*?)```", documentation(), re.DOTALL)
    return found


def follow_recipe(folder, key: str, lines: list[str]) -> subprocess.CompletedProcess:
    """Run it where nothing of ours can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", recipe()],
        input="\n".join(lines),
        env={"ENCRYPTION_KEY": key},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )


def test_the_recipe_has_at_most_20_lines_and_needs_cryptography_alone():
    assert len(recipe().splitlines()) <= 20
    imported = set(re.findall(r"^(?:import|from) ([a-z0-9, ]+)", recipe(), re.MULTILINE))
    assert imported == {"base64, os, sys", "cryptography"}
    assert "argv" not in recipe()


@pytest.mark.parametrize("spelling", ["hex", "Fernet key"])
def test_the_recipe_opens_what_the_written_format_describes(spelling, tmp_path):
    key = bytes.fromhex(new_key())
    rows = [(("calls.note", "owner", str(number)), text) for number, text in enumerate(TEXTS)]
    found = follow_recipe(
        tmp_path,
        key.hex() if spelling == "hex" else base64.urlsafe_b64encode(key).decode(),
        ["\t".join([*context, reference.seal(key, *context, text.encode())]) for context, text in rows],
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [f"calls.note\t{row}\t{text}" for (_, _, row), text in rows]


def test_the_recipe_says_when_it_has_another_key(tmp_path):
    key = bytes.fromhex(new_key())
    value = reference.seal(key, "calls.note", "owner", "row", b"s3cret")
    found = follow_recipe(tmp_path, new_key(), [f"calls.note\towner\trow\t{value}"])
    assert found.returncode == 1
    assert found.stdout == ""
    assert f"another key: {reference.key_id(key)}" in found.stderr


def test_the_recipe_opens_every_secret_of_a_dump(database, tmp_path):
    key = new_key()
    with database.start(key).app_context():
        tenants = [database.new_tenant() for _ in range(2)]
        for tenant in tenants:
            for text in TEXTS:
                db.session.add_all(
                    [
                        PhoneSystem(tenant_id=tenant, name="n", vendor="v", password=text, webhook_password=f"w{text}"),
                        PaymentAccount(tenant_id=tenant, provider="p", mode="live", client_secret=f"p{text}"),
                        ApiCredential(tenant_id=tenant, name="n", provider="p", secret=f"a{text}"),
                    ]
                )
        db.session.commit()
    found = follow_recipe(tmp_path, key, dumped(database))
    assert found.returncode == 0, found.stderr
    rows = list(csv.reader(found.stdout.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    written = {"phone_systems.password": "", "phone_systems.webhook_password": "w"}
    written |= {"payment_accounts.client_secret": "p", "api_credentials.secret": "a"}
    assert sorted((column, text) for column, _, text in rows) == sorted(
        (column, mark + text) for column, mark in written.items() for text in TEXTS for _ in tenants
    )


def dumped(database) -> list[str]:
    """The lines that the documentation's query gives, for every encrypted column of tenants and users."""
    return [
        "\t".join([column.name, *(str(UUID(str(id_))) for id_ in ids), value])
        for column in inventory(db.metadata)
        if column.owner is not None
        for *ids, value in database.all(
            f"SELECT {column.owner.name}, id, {column.storage.name} FROM {column.table.name} "
            f"WHERE {column.storage.name} IS NOT NULL"
        )
    ]


def test_the_documentation_lists_every_encrypted_column():
    for column in inventory(db.metadata):
        assert f"`{column.name}`" in documentation()
