"""Credential files of another application, made with bare `cryptography`, become rows of tenants."""

import json
import os
import stat

import pytest
from sqlalchemy import select

from app.credentials.models import ApiCredential
from app.credentials.service import api_credentials
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from tests.adoption.conftest import stored
from tests.adoption.test_example import FILES
from tests.conftest import in_database
from tests.encryption.test_adoption import file_of

MAPPING = FILES.replace("/srv/old/credentials", "credentials")
DATA = '{"username": "ada", "password": "hunter2"}'
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path, adopt, alice):
    folder = tmp_path / "credentials"
    folder.mkdir()
    for user in ("7", "8"):
        (folder / f"{user}.cred").write_bytes(file_of(user, data=DATA.replace("hunter2", f"hunter2 of {user}")))
        (folder / f"{user}.cred").chmod(0o600)
    (folder / "notes.txt").write_text("no credential")
    adopt.variables["OLD_MASTER_KEY"] = "master"
    adopt.hidden.append("hunter2")
    return folder


def credentials(app):
    with in_database(app):
        rows = db.session.scalars(select(ApiCredential).order_by(ApiCredential.name))
        return [(row.name, row.provider, row.secret) for row in rows]


def test_the_example_makes_api_credentials_of_them(app, adopt, folder):
    before = stored(app)
    told = adopt.counts(MAPPING, "--dry-run", "--blank-source")
    assert (told["adopted"], told["blanked"], stored(app)) == (2, 2, before)
    done = adopt(MAPPING)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 rows: 2 adopted, 0 were before, 0 failed.")
    assert credentials(app) == [
        (f"WorkFossa of user {user}", "workfossa", DATA.replace("hunter2", f"hunter2 of {user}")) for user in ("7", "8")
    ]
    again = adopt.counts(MAPPING)
    assert (again["adopted"], again["already"]) == (0, 2)


def test_a_member_of_what_is_sealed_can_be_taken_alone_and_become_something_else(app, adopt, folder):
    mapping = """
source = "old"
[phone_systems.pbx]
files = "credentials/*.cred"
key = "OLD_MASTER_KEY"
tenant = "acme"
name = "PBX of {user_id}, {created_at}"
vendor = "asterisk"
username = "{username}"
password = { column = "password", encoding = "plaintext" }
"""
    (folder / "9.cred").write_bytes(file_of("9", data="not JSON"))
    told = adopt(mapping)
    assert told.exit_code == 1
    assert "phone_systems.pbx, row 9.cred of credentials/*.cred: has no username in what is sealed" in told.stderr
    with in_database(app):
        found = db.session.scalars(select(PhoneSystem).order_by(PhoneSystem.name))
        assert [(row.name, row.username, row.password) for row in found] == [
            (f"PBX of {user}, 2025-01-31T12:00:00", "ada", f"hunter2 of {user}") for user in ("7", "8")
        ]


def test_blanked_a_file_keeps_all_but_its_secret(app, adopt, folder):
    assert adopt.counts(MAPPING, "--blank-source")["blanked"] == 2
    path = folder / "7.cred"
    assert json.loads(path.read_bytes()) == {
        "user_id": "7",
        "encrypted_data": "",
        "created_at": "2025-01-31T12:00:00",
        "encryption_version": "1.0",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["7.cred", "8.cred", "notes.txt"]
    again = adopt.counts(MAPPING, "--blank-source")
    assert (again["empty"], again["blanked"], again["failed"]) == (2, 0, 0)
    assert len(credentials(app)) == 2


def test_files_that_are_none_are_told_and_the_others_taken_over(app, adopt, folder):
    (folder / "a.cred").write_text("{}")
    (folder / "b.cred").write_bytes(file_of("7", secret="another"))
    (folder / "c.cred").write_bytes(b" " * 1_100_000)
    (folder / "d.cred").mkdir()
    os.mkfifo(folder / "e.cred")
    (folder / "f.cred").symlink_to("nowhere")
    (folder / "g.cred").write_bytes(file_of("no tenant's"))
    result = adopt(MAPPING)
    assert result.exit_code == 1
    assert [line.partition("*.cred")[2] for line in result.stderr.splitlines()] == [
        ": has no user_id",
        ": does not open with the old key: another key, or altered or cut off",
        ": is no file, or is larger than 1 MiB",
        ": is no file, or is larger than 1 MiB",
        ": is no file, or is larger than 1 MiB",
        ", tenant (column user_id): is something that the mapping has no value for",
    ]
    assert "1 removed from the source meanwhile" in result.stdout
    assert len(credentials(app)) == 2


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ("none/*.cred", "There are no files none/*.cred."),
        ("cred*/*.cred", "files = cred*/*.cred has a * in the name of a folder: only the last part may have one."),
    ],
)
def test_a_path_without_files_is_told(files, told, adopt, folder):
    result = adopt(MAPPING.replace("credentials/*.cred", files))
    assert (result.exit_code, result.stdout) == (78, "")
    assert told in result.stderr


def test_a_file_that_changes_meanwhile_is_not_blanked(app, adopt, folder, monkeypatch):
    make = type(api_credentials).create

    def change_meanwhile(*args, **options):
        made = make(*args, **options)
        (folder / "7.cred").write_bytes(file_of("7", data='{"password": "hunter2 is new"}'))
        (folder / "8.cred").unlink(missing_ok=True)
        return made

    monkeypatch.setattr(type(api_credentials), "create", change_meanwhile)
    result = adopt(MAPPING, "--blank-source")
    assert result.exit_code == 1
    assert (
        "row 7.cred of credentials/*.cred: is stored here, but was changed or removed in this very moment"
        in result.stderr
    )
    assert json.loads((folder / "7.cred").read_bytes())["encrypted_data"]
