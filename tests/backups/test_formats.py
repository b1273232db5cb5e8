"""`flask backup check` reads whatever pg_dump writes, and copies of SQLite databases, from files and from pipes."""

import gzip
import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.backups.conftest import Dumps, app_with, new_key, run
from tests.encryption.databases import ROOT

SQL = (
    [],
    ["--inserts"],
    ["--column-inserts"],
    ["--rows-per-insert=2"],
    ["--no-owner", "--no-privileges", "--verbose"],
    ["--inserts", "--on-conflict-do-nothing"],
    ["--rows-per-insert=2", "--on-conflict-do-nothing"],
)
MAY_LACK = (
    "If it was copied with cp while the service ran, its newest changes are missing: they were in the file beside it "
    "(-wal). Copy it with VACUUM INTO."
)
ARCHIVES = (["-Fc"], ["-Fc", "--inserts"], ["-Fc", "--compress=0"])


def assert_all_opens(found, sample, notes=()):
    assert found["usable"], found["problems"]
    assert (found["opened"], found["unreadable"], found["notes"]) == (sample.values, 0, list(notes))
    counted = {column["column"]: column["keys"] for column in found["columns"]}
    old, new = sample.old.id, sample.new.id
    assert counted == {
        "api_credentials.secret": {new: 1},
        "api_keys.token_hash": {new: 1},
        "audit_seals.content": {new: 1},
        "mails.content": {new: 1},
        "payment_accounts.client_secret": {new: 1},
        "phone_systems.password": {old: 1, new: 1},
        "phone_systems.previous_webhook_password": {new: 1},
        "phone_systems.webhook_password": {old: 1, new: 1},
        "unreadable_deliveries.content": {new: 1},
        "users.recovery_code_hashes": {new: 1},
        "users.totp_secret": {new: 1},
    }
    in_use = {"configured": True, "registered": True, "retired": False}
    assert found["keys"] == sorted(
        [
            {"id": old, "values": 2} | in_use,
            {"id": new, "values": sample.values - 2} | in_use,
            {"id": sample.retired, "values": 0, "configured": False, "registered": False, "retired": True},
        ],
        key=lambda key: key["id"],
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["newest_event_at"])


@pytest.mark.parametrize("options", [*SQL, *ARCHIVES], ids=" ".join)
def test_every_value_of_a_dump_is_opened(dumps: Dumps, check, tmp_path, options):
    file = tmp_path / "backup"
    file.write_bytes(dumps.make(*options))
    assert_all_opens(check((dumps.sample.new, dumps.sample.old), file), dumps.sample)


@pytest.mark.parametrize("options", [[], ["-Fc"]], ids=["SQL", "archive"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_a_dump_may_come_by_standard_input_and_gzipped(dumps: Dumps, check, options, packed):
    dump = dumps.make(*options)
    keys = dumps.sample.new, dumps.sample.old
    assert_all_opens(check(keys, "-", gzip.compress(dump) if packed else dump), dumps.sample)


def test_a_pipe_that_gives_a_few_bytes_at_a_time_is_read_to_its_end(dumps: Dumps, check, tmp_path):
    pipe, dump = tmp_path / "pipe", dumps.make("-Fc")
    os.mkfifo(pipe)

    def write():
        with pipe.open("wb", buffering=0) as file:
            for position in range(2_000):
                file.write(dump[position : position + 1])
            file.write(dump[2_000:])

    writer = threading.Thread(target=write)
    writer.start()
    found = check((dumps.sample.new, dumps.sample.old), pipe)
    writer.join()
    assert_all_opens(found, dumps.sample)


def test_a_real_pipe_between_processes_shows_nothing_but_the_report(dumps: Dumps, tmp_path):
    """Decrypting writes into the pipe; the keys come from the environment, and there is no database at all."""
    dump = tmp_path / "dump"
    dump.write_bytes(dumps.make("-Fc"))
    keys = {"ENCRYPTION_KEY": dumps.sample.new, "ENCRYPTION_KEY_FALLBACKS": dumps.sample.old}
    environment = {
        "PATH": dumps.environment["PATH"],
        "JWT_SECRET_KEY": os.urandom(32).hex(),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    } | {name: key._secret.hex() for name, key in keys.items()}
    with dump.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        done = subprocess.run(
            [Path(sys.executable).with_name("flask"), "backup", "check", "-"],
            stdin=cat.stdout,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        f"{dumps.sample.values} values opened, 0 did not.",
        "This backup can be used.",
    ]


@pytest.mark.parametrize("options", [["--inserts"], ["--column-inserts"], []], ids=" ".join)
def test_windows_line_ends_and_another_schema_make_no_difference(dumps: Dumps, check, options):
    dump = (
        dumps.make(*options).replace(b"public.", b'"My ""odd"" schema, too".').replace(b"Schema: public", b"Schema: x")
    )
    if not options:  # in a literal, a line end is part of the text
        dump = dump.replace(b"\n", b"\r\n")
    assert_all_opens(check((dumps.sample.new, dumps.sample.old), "-", dump), dumps.sample)


def test_quoted_columns_in_another_order_are_found_by_name(dumps: Dumps, check):
    dump = dumps.make()
    head, columns, rows, rest = re.match(
        rb"(.*COPY public\.phone_systems )\((.*?)\)( FROM stdin;\n.*?\\\.\n)(.*)", dump, re.DOTALL
    ).groups()
    names = columns.split(b", ")
    lines = rows.split(b"\n")
    turned = [b"\t".join(reversed(line.split(b"\t"))) if b"\t" in line else line for line in lines]
    header = b"(" + b", ".join(b'"%s"' % name for name in reversed(names)) + b")"
    dump = head + header + b"\n".join(turned) + rest
    assert_all_opens(check((dumps.sample.new, dumps.sample.old), "-", dump), dumps.sample)


def test_data_alone_will_do(dumps: Dumps, check):
    for options in (["--data-only"], ["--data-only", "--column-inserts"]):
        assert_all_opens(check((dumps.sample.new, dumps.sample.old), "-", dumps.make(*options)), dumps.sample)


def test_data_alone_without_names_of_columns_will_not(dumps: Dumps, check):
    found = check((dumps.sample.new, dumps.sample.old), "-", dumps.make("--data-only", "--inserts"))
    (problem,) = found["problems"]
    assert "dump the schema, too, or with --column-inserts" in problem


def test_literals_of_the_escaped_kind_are_read(dumps: Dumps, check):
    dump = dumps.make("--inserts")
    pattern = re.compile(rb"(INSERT INTO public\.phone_systems VALUES .*?\);)\n\n", re.DOTALL)
    assert pattern.search(dump)
    dump = pattern.sub(lambda found: re.sub(rb"'v1:", rb"E'v1:", found[0]), dump)
    assert b"E'v1:" in dump
    assert_all_opens(check((dumps.sample.new, dumps.sample.old), "-", dump), dumps.sample)


def test_a_copy_of_an_sqlite_database_is_read_from_a_file_and_from_a_pipe(sqlite_sample, check, tmp_path):
    sample, path = sqlite_sample
    copies = tmp_path / "by vacuum?.db", tmp_path / "by backup.db"
    source = sqlite3.connect(path)
    source.execute("VACUUM INTO ?", [str(copies[0])])
    copy = sqlite3.connect(copies[1])
    source.backup(copy)
    copy.close()
    source.close()
    for file, notes in zip(copies, ((), [MAY_LACK]), strict=True):
        before = file.read_bytes()
        assert_all_opens(check((sample.new, sample.old), file), sample, notes)
        assert_all_opens(check((sample.new, sample.old), "-", before), sample, notes)
        assert_all_opens(check((sample.new, sample.old), "-", gzip.compress(before)), sample, notes)
        assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(copies)  # no journal beside them


def test_it_is_told_for_people(dumps: Dumps, check, tmp_path):
    file = tmp_path / "backup"
    file.write_bytes(dumps.make("-Fc"))
    sample = dumps.sample
    result = run(app_with(sample.new, sample.old), str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    kind, *columns, _, verdict = result.stdout.splitlines()
    assert re.fullmatch(
        r"PostgreSQL dump, custom format; migration \d{4}; newest audit event: \S+Z \((just now|.* ago)\)", kind
    )
    assert "payment_accounts.client_secret: 1 under " + sample.new.id + ", 0 empty" in columns
    assert f"key {sample.old.id}: 2 values; configured, registered" in columns
    assert f"key {sample.retired}: 0 values; retired" in columns
    assert verdict == "This backup can be used."


def test_which_keys_are_missing_is_said_before_they_are_needed(dumps: Dumps, check):
    sample = dumps.sample
    found = check((sample.new,), "-", dumps.make())
    assert found["problems"] == [
        f"Key {sample.old.id} is not configured, and 2 values need it: add it to ENCRYPTION_KEY_FALLBACKS."
    ]
    assert (found["opened"], found["unreadable"]) == (sample.values - 2, 2)
    assert {(value["table"], value["key_id"]) for value in found["listed"]} == {("phone_systems", sample.old.id)}
    found = check((new_key(),), "-", dumps.make())
    assert (len(found["problems"]), found["opened"], found["unreadable"]) == (2, 0, sample.values)
