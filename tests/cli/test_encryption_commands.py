"""`flask encryption …`: what is printed, how it ends, and what it changes, in this process and in real ones."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from click.testing import Result

from tests.encryption.databases import DIALECTS, ROOT, Database, id_of, new_key

COLUMNS = [
    "api_credentials.secret",
    "api_keys.token_hash",
    "audit_seals.content",
    "mails.content",
    "payment_accounts.client_secret",
    "phone_systems.password",
    "phone_systems.previous_webhook_password",
    "phone_systems.webhook_password",
    "unreadable_deliveries.content",
    "users.recovery_code_hashes",
    "users.totp_secret",
]
COMMANDS = (["status"], ["verify"], ["retire", "ID"], ["forget", "ID"], ["reinstate", "ID"])


@pytest.fixture
def key():
    return new_key()


@pytest.fixture
def old():
    return new_key()


def run(database: Database, keys: tuple[str, ...], *command: str, stdin: str = "") -> Result:
    """Run a command with these keys; whatever it does, it shows none of them."""
    result = database.whole_app(*keys).test_cli_runner().invoke(args=["encryption", *command], input=stdin)
    assert not [key for key in keys if key in result.output]
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def rows(database, key, old):
    """Two phone systems from before the last change of keys, with three values, and one from after it."""
    tenants = database.new_tenant(), database.new_tenant()
    with database.start(old).app_context():
        first = database.new_system(tenants[0], password="one", webhook_password="two")
        second = database.new_system(tenants[1], password="three")
    with database.start(key, old).app_context():
        third = database.new_system(tenants[1], password="four")
    return {"tenants": tenants, "systems": (first, second, third)}


# status


def test_status_is_told_as_json_in_the_documented_shape(database, key, old, rows):
    result = run(database, (key, old), "status", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    registered = [key.pop("created_at") for key in found["keys"]]
    assert found == {
        "primary": id_of(key),
        "fallbacks": [id_of(old)],
        "columns": [
            {"column": "api_credentials.secret", "null": 0, "keys": {}},
            {"column": "api_keys.token_hash", "null": 0, "keys": {}},
            {"column": "audit_seals.content", "null": 0, "keys": {}},
            {"column": "mails.content", "null": 0, "keys": {}},
            {"column": "payment_accounts.client_secret", "null": 0, "keys": {}},
            {"column": "phone_systems.password", "null": 0, "keys": {id_of(old): 2, id_of(key): 1}},
            {"column": "phone_systems.previous_webhook_password", "null": 3, "keys": {}},
            {"column": "phone_systems.webhook_password", "null": 2, "keys": {id_of(old): 1}},
            {"column": "unreadable_deliveries.content", "null": 0, "keys": {}},
            {"column": "users.recovery_code_hashes", "null": 0, "keys": {}},
            {"column": "users.totp_secret", "null": 0, "keys": {}},
        ],
        "keys": [{"id": id_of(old), "values": 3}, {"id": id_of(key), "values": 1}],
        "last_rotation": None,
    }
    for moment in registered:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)
        assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(minutes=10)


def test_status_tells_the_last_rotation(database, key, old, rows):
    app = database.whole_app(key, old)
    for _ in range(2):
        assert app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
    last = json.loads(run(database, (key, old), "status", "--json").stdout)["last_rotation"]
    started, finished = last.pop("started_at"), last.pop("finished_at")
    assert started <= finished
    assert last == {
        "from": [id_of(old)],
        "to": id_of(key),
        "planned": 0,
        "rotated": 0,
        "unreadable": 0,
        "proved": 4,
        "remaining": 0,
    }


def test_status_is_told_for_people(database, key, old, rows):
    result = run(database, (key, old), "status")
    assert result.exit_code == 0
    for line in (
        f"primary {id_of(key)}; fallbacks: {id_of(old)}",
        "api_credentials.secret: no values, 0 empty",
        f"phone_systems.webhook_password: 1 under {id_of(old)}, 2 empty",
    ):
        assert line in result.stdout.splitlines()
    assert f"key {id_of(old)}: 3 values, registered " in result.stdout


def test_status_of_an_empty_database_names_every_column(database, key):
    found = json.loads(run(database, (key,), "status", "--json").stdout)
    assert [column["column"] for column in found["columns"]] == COLUMNS
    assert (found["keys"], found["fallbacks"]) == ([], [])


# verify


def test_verify_opens_everything(database, key, old, rows):
    result = run(database, (key, old), "verify", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"opened": 4, "unreadable": []}
    assert run(database, (key, old), "verify").stdout == "4 values opened, 0 did not.\n"


def test_verify_tells_what_does_not_open_and_why(database, key, old, rows):
    first = rows["systems"][0]
    database.all("UPDATE phone_systems SET tenant_id = :other WHERE id = :id", other=rows["tenants"][1], id=first)
    result = run(database, (key, old), "verify", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found.keys() == {"opened", "unreadable"}
    assert found["opened"] == 2
    assert sorted(found["unreadable"], key=lambda value: value["column"]) == [
        {
            "column": column,
            "row": str(first),
            "key_id": id_of(old),
            "reason": "does not open: moved, altered or corrupt",
        }
        for column in ("phone_systems.password", "phone_systems.webhook_password")
    ]
    told = run(database, (key, old), "verify")
    assert (told.exit_code, told.stdout) == (1, "2 values opened, 2 did not.\n")
    assert f"phone_systems.password of row {first}" in told.stderr


def test_verify_tells_values_whose_key_is_not_configured(database, key, old, rows):
    found = json.loads(run(database, (key,), "verify", "--json").stdout)
    assert found["opened"] == 1
    assert [value["key_id"] for value in found["unreadable"]] == [id_of(old)] * 3
    assert {value["reason"] for value in found["unreadable"]} == {"is sealed under a key that is not configured"}


def test_verify_shows_no_value(database, key, old, rows):
    (value,) = {database.one("SELECT password_encrypted FROM phone_systems WHERE id = :id", id=rows["systems"][0])}
    database.all("UPDATE phone_systems SET tenant_id = :other", other=rows["tenants"][1])
    for how in ([], ["--json"]):
        assert value[12:] not in run(database, (key, old), "verify", *how).output


# retire


def test_retire_removes_a_key_that_no_value_needs(database, key, old):
    database.start(old)
    database.start(key, old)
    result = run(database, (key, old), "retire", id_of(old))
    assert result.exit_code == 0
    assert f"{id_of(old)} is retired" in result.stdout
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})


def test_retire_refuses_a_key_that_values_need(database, key, old, rows):
    before = database.contents()
    result = run(database, (key, old), "retire", id_of(old))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 of phone_systems.password, 1 of phone_systems.webhook_password" in result.stderr
    assert database.contents() == before


@pytest.mark.parametrize("which", ["primary", "unknown"])
def test_retire_refuses_the_primary_key_and_one_that_is_unknown(which, database, key):
    database.start(key)
    result = run(database, (key,), "retire", id_of(key if which == "primary" else new_key()))
    assert (result.exit_code, result.stdout) == (1, "")
    assert database.registered() == [id_of(key)]


# forget


def test_forget_lists_what_must_be_entered_anew_and_removes_it(database, key, old, rows):
    first, second, third = rows["systems"]
    result = run(database, (key,), "forget", id_of(old), stdin=f"{id_of(old)}\n")
    assert result.exit_code == 0
    assert f"3 values are sealed under {id_of(old)}" in result.stderr
    assert sorted(result.stdout.splitlines()[:-1]) == sorted(
        f"tenant {tenant} table phone_systems column phone_systems.{attribute} row {row}"
        for tenant, attribute, row in [
            (rows["tenants"][0], "password", first),
            (rows["tenants"][0], "webhook_password", first),
            (rows["tenants"][1], "password", second),
        ]
    )
    assert result.stdout.splitlines()[-1].startswith(f"{id_of(old)} is forgotten. 3 values were removed")
    left = database.all("SELECT id FROM phone_systems WHERE password_encrypted IS NOT NULL")
    assert [UUID(str(row)) for (row,) in left] == [third]
    assert (database.registered(), database.retired()) == ([id_of(key)], {id_of(old)})


def test_forget_is_the_change_of_nobody_whom_the_tenant_knows(database, key, old, rows):
    database.all(
        "UPDATE phone_systems SET password_changed_by = 'a@b.example', webhook_password_changed_by = 'a@b.example',"
        " webhook_password_used_at = '2001-02-03 04:05:06.000000'"
    )
    assert run(database, (key,), "forget", id_of(old), stdin=f"{id_of(old)}\n").exit_code == 0
    shown = "SELECT id, password_changed_by, webhook_password_changed_by FROM phone_systems"
    by = {UUID(str(row)): names for row, *names in database.all(shown)}
    first, second, third = rows["systems"]
    assert by == {first: [None, None], second: [None, "a@b.example"], third: ["a@b.example"] * 2}
    used = {
        UUID(str(row))
        for (row,) in database.all("SELECT id FROM phone_systems WHERE webhook_password_used_at IS NOT NULL")
    }
    assert used == {second, third}


def test_forget_prints_one_json_object_on_standard_output(database, key, old, rows):
    result = run(database, (key,), "forget", id_of(old), "--json", stdin=f"{id_of(old)}\n")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["forgotten"] == id_of(old)
    assert sorted(found["rows"], key=str) == sorted(
        (
            {"tenant": str(tenant), "table": "phone_systems", "column": f"phone_systems.{attribute}", "row": str(row)}
            for tenant, attribute, row in [
                (rows["tenants"][0], "password", rows["systems"][0]),
                (rows["tenants"][0], "webhook_password", rows["systems"][0]),
                (rows["tenants"][1], "password", rows["systems"][1]),
            ]
        ),
        key=str,
    )


@pytest.mark.parametrize("typed", ["", "\n", "y\n", "yes\n", "ID", " ", "00000000\n", "upper\n"])
def test_forget_without_the_key_id_typed_changes_nothing(typed, database, key, old, rows):
    before = database.contents()
    typed = typed.replace("upper", f"x{id_of(old)}")
    result = run(database, (key,), "forget", id_of(old), stdin=typed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert database.contents() == before


def test_forget_refuses_a_key_that_is_configured_or_unknown(database, key, old, rows):
    before = database.contents()
    for key_id in (id_of(old), id_of(key), id_of(new_key())):
        result = run(database, (key, old), "forget", key_id, stdin=f"{key_id}\n")
        assert (result.exit_code, result.stdout) == (1, "")
    assert database.contents() == before


def test_after_forgetting_the_lost_key_the_service_starts(database, key, old, rows):
    run(database, (key,), "forget", id_of(old), stdin=f"{id_of(old)}\n")
    database.start(key)


# reinstate


def test_reinstate_is_the_way_back_to_a_retired_key(database, key, old):
    database.start(old)
    database.start(key, old)
    run(database, (key, old), "retire", id_of(old))
    result = run(database, (old, key), "reinstate", id_of(old))
    assert result.exit_code == 0
    assert (database.registered(), database.retired()) == ([id_of(key)], set())
    database.start(old, key)


def test_reinstate_refuses_a_key_that_is_not_retired(database, key):
    database.start(key)
    result = run(database, (key,), "reinstate", id_of(key))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not a retired key" in result.stderr


# What they have in common


@pytest.mark.parametrize("command", ["retire", "forget", "reinstate"])
def test_what_is_not_a_key_id_is_a_usage_error(command, database, key):
    runner = database.whole_app(key).test_cli_runner()
    for text in ("0123ABCD", "0123abc", "0123abcde", "not a key", "0123abc\n", "", None, "0123abcd 0123abcd"):
        given = [] if text is None else text.split() or [text]
        result = runner.invoke(args=["encryption", command, *given], input=text)
        assert (result.exit_code, result.stdout) == (2, "")


def test_an_unknown_command_or_option_is_a_usage_error(database, key):
    for command in (["destroy"], ["status", "--yes"], ["verify", "--workers", "0"], ["verify", "--key", key]):
        assert database.whole_app(new_key()).test_cli_runner().invoke(args=["encryption", *command]).exit_code == 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_none_registers_a_key_and_all_work_while_the_check_at_start_fails(command, database, key, old, rows):
    """The configured key is new, and the registered ones are not configured."""
    stranger = new_key()
    if command[0] == "reinstate":
        database.all("INSERT INTO retired_encryption_keys VALUES ('0123abcd', '2026-01-01')")
    if command[0] == "retire":
        database.all("UPDATE phone_systems SET password_encrypted = NULL, webhook_password_encrypted = NULL")
    key_id = "0123abcd" if command[0] == "reinstate" else id_of(old)
    args = [key_id if part == "ID" else part for part in command]
    result = run(database, (stranger,), *args, stdin=f"{key_id}\n")
    assert result.exit_code == (1 if command[0] == "verify" else 0), result.output
    assert id_of(stranger) not in database.registered()
    assert id_of(key) in database.registered()


@pytest.fixture(params=DIALECTS)
def empty_database(request, new_database_url):
    database = Database(new_database_url(request.param))
    yield database
    database.close_apps()
    database.engine.dispose()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_unmigrated_database_is_told_to_be_one(command, empty_database, key):
    args = ["0123abcd" if part == "ID" else part for part in command]
    result = run(empty_database, (key,), *args, stdin="0123abcd\n")
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == "The database is not migrated: run `flask db upgrade` first.\n"


# In real processes


def process(database: Database, keys: tuple[str, ...], *command: str, stdin: str = "", **changes: str):
    found = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "encryption", *command],
        cwd=ROOT,
        env=database.environment(*keys) | changes,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
    )
    assert not [key for key in keys if key in found.stdout + found.stderr]
    assert "Traceback" not in found.stderr
    return found


def test_processes_tell_and_change_what_they_should(database, key, old, rows):
    refused = process(database, (key, old), "retire", id_of(old))
    assert (refused.returncode, refused.stdout) == (1, "")
    forgotten = process(database, (key,), "forget", id_of(old), "--json", stdin=f"{id_of(old)}\n")
    assert forgotten.returncode == 0
    assert len(json.loads(forgotten.stdout)["rows"]) == 3
    assert database.registered() == [id_of(key)]


def test_a_process_without_a_fit_key_ends_with_the_status_of_a_bad_configuration(tmp_path, key):
    found = process(Database(f"sqlite:///{tmp_path}/none.db"), (key,), "status", ENCRYPTION_KEY=key[:-1])
    assert (found.returncode, found.stdout) == (78, "")
    assert "ENCRYPTION_KEY" in found.stderr
    assert key[:8] not in found.stderr
