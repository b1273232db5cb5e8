"""What `flask backup check` says of backups that are cut off, altered, incomplete, or none at all."""

import gzip
import re
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.backups.conftest import LONG, Dumps, app_with, new_key, run
from tests.conftest import make_settings, running

CUT_OFF = "The backup ends before its end: it was cut off."


@pytest.fixture
def keys(dumps: Dumps):
    return dumps.sample.new, dumps.sample.old


@pytest.fixture
def reader(dumps: Dumps) -> Iterator[str]:
    """A role that may read every table, as one might make for backups, and is not their owner."""
    role = f"reader_{secrets.token_hex(8)}"
    with psycopg.connect(dumps.client.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} IN ROLE pg_read_all_data")
        yield role
        connection.execute(f"DROP ROLE {role}")


def cut_at(dump: bytes, marker: bytes) -> bytes:
    return dump[: dump.rindex(marker) + len(marker)]


@pytest.mark.parametrize(
    ("options", "marker"),
    [
        ([], b"COPY public.phone_systems"),  # in the middle of a line
        ([], b"v1:"),  # … of a value
        ([], b"\\.\n"),  # after the last row
        ([], b"GRANT "),
        ([], b"-- PostgreSQL database dump complet"),
        (["--inserts"], b"v1:"),  # in a literal
        (["--inserts"], b"VALUES"),
        (["--rows-per-insert=2"], b"VALUES\n"),
        (["--inserts"], b"CREATE TABLE public.users (\n"),
    ],
    ids=repr,
)
def test_a_dump_that_is_cut_off_is_told_so(dumps: Dumps, check, keys, options, marker):
    found = check(keys, "-", cut_at(dumps.make(*options), marker))
    assert CUT_OFF in found["problems"]
    assert found["unreadable"] == 0


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_archive_that_is_cut_off_is_told_so(dumps: Dumps, check, keys, share):
    dump = dumps.make("-Fc")
    (problem, *_) = check(keys, "-", dump[: int(len(dump) * share)])["problems"]
    assert problem.startswith("pg_restore cannot read it to its end (") or problem == CUT_OFF


@pytest.mark.parametrize("options", [[], ["-Fc"]], ids=["SQL", "archive"])
def test_a_gzipped_dump_that_is_cut_off_or_altered_is_told_so(dumps: Dumps, check, keys, options):
    packed = gzip.compress(dumps.make(*options))
    wrong_sum = packed[:-8] + bytes(byte ^ 1 for byte in packed[-8:-4]) + packed[-4:]
    for damaged in (packed[:-1], packed[: len(packed) // 2], wrong_sum):
        assert check(keys, "-", damaged)["problems"] == [
            "The backup ends before its end, or is damaged: gzip cannot unpack it."
        ]


@pytest.mark.parametrize("options", [[], ["--inserts"], ["-Fc", "--compress=0"]], ids=" ".join)
def test_one_bit_of_one_token_is_found_with_its_row(dumps: Dumps, check, keys, options):
    dump = bytearray(dumps.make(*options))
    start = dump.rindex(b"v1:") + 60
    position = next(place for place in range(start, start + 9) if chr(dump[place] ^ 1).isalnum())
    dump[position] ^= 1
    found = check(keys, "-", bytes(dump))
    (value,) = found["listed"]
    assert (found["opened"], found["unreadable"]) == (dumps.sample.values - 1, 1)
    assert (value["table"], value["key_id"]) == ("users", dumps.sample.new.id)
    assert value["reason"] == "does not open: moved, altered or corrupt"
    assert value["row"].encode() in dump


def test_values_that_were_swapped_between_rows_do_not_open(dumps: Dumps, check, keys):
    dump = dumps.make()
    first, second = re.search(rb"COPY public\.phone_systems .*?\n(.*?)\n(.*?)\n\\\.", dump).groups()
    ids = [line.split(b"\t")[0] for line in (first, second)]
    swapped = first.replace(*ids) + b"\n" + second.replace(*reversed(ids))
    found = check(keys, "-", dump.replace(first + b"\n" + second, swapped))
    assert (found["opened"], found["unreadable"]) == (dumps.sample.values - 5, 5)
    assert {value["row"].encode() for value in found["listed"]} == set(ids)


def test_plaintext_in_an_encrypted_column_is_counted_and_not_shown(dumps: Dumps, check, keys):
    found = check(keys, "-", re.sub(rb"\tv1:[^\t\n]+", b"\thunter2", dumps.make()))
    assert (found["opened"], found["unreadable"]) == (0, dumps.sample.values)
    assert {value["reason"] for value in found["listed"]} == {"is not a sealed value"}


def test_what_stands_in_place_of_an_id_is_not_shown(dumps: Dumps, check, keys):
    dump = re.sub(rb"(COPY public\.payment_accounts .*\n)[0-9a-f-]{36}", b"\\1\x1b[31mhunter2", dumps.make())
    (value,) = check(keys, "-", dump)["listed"]
    assert (value["table"], value["row"]) == ("payment_accounts", "without an id")


@pytest.mark.parametrize("event", [b"ffffffff-ffff-7fff-bfff-ffffffffffff", b"zzz"])
def test_an_age_that_cannot_be_is_none(dumps: Dumps, check, keys, event):
    found = check(keys, "-", re.sub(rb"(COPY public\.audit_events .*\n)[0-9a-f-]{36}", rb"\1" + event, dumps.make()))
    assert (found["usable"], found["newest_event_at"]) == (True, None)


def test_thousands_of_bad_values_are_counted_and_a_few_listed(dumps: Dumps, check, keys):
    row = re.search(rb"COPY public\.payment_accounts .*\n(.*\n)", dumps.make())[1]
    token = re.search(rb"v1:........:", row)[0]
    many = b"".join(row.replace(token, b"v1:%08x:" % number) for number in range(3_000))
    found = check(keys, "-", dumps.make().replace(row, many))
    assert found["unreadable"] == 3_000
    assert len(found["listed"]) <= 200
    assert len(found["keys"]) <= 110
    assert sum(key["values"] for key in found["keys"]) == 3_000 + dumps.sample.values - 1
    result = run(app_with(*keys), "-", stdin=dumps.make().replace(row, many))
    assert "more of the same kinds" in result.stderr


def test_a_key_that_nobody_registered_makes_it_impossible_to_restore(dumps: Dumps, check, keys):
    dump = dumps.make()
    (other,) = re.findall(rb"\n(%b\t.*\n)" % dumps.sample.old.id.encode(), dump)
    (problem,) = check(keys, "-", dump.replace(other, b""))["problems"]
    assert problem.startswith(f"2 values are sealed under key {dumps.sample.old.id}, which is not registered in it")


def test_a_registered_key_without_values_is_no_obstacle(dumps: Dumps, check, keys):
    lines = re.search(rb"COPY public\.encryption_keys .*\n((?:.*\n)*?)\\\.", dumps.make())[1]
    more = lines + re.sub(rb"[0-9a-f]{8}\t\d", b"deadbeef\t3", lines.splitlines(keepends=True)[0])
    found = check(keys, "-", dumps.make().replace(lines, more))
    assert found["usable"]
    assert found["notes"] == [
        "Key deadbeef is not configured, and no value needs it: after the restore, run "
        "`flask encryption retire deadbeef`."
    ]


def test_a_canary_that_was_altered_is_found(dumps: Dumps, check, keys):
    dump = re.sub(rb"(\n%b\t.*)\n" % keys[0].id.encode(), rb"\1A\n", dumps.make())
    assert check(keys, "-", dump)["problems"] == [
        f"The configured key {keys[0].id} does not open the canary that is in the backup."
    ]


def test_a_primary_key_that_was_retired_then_is_told(dumps: Dumps, check, keys):
    third = new_key()
    dump = dumps.make().replace(dumps.sample.retired.encode(), third.id.encode())
    found = check((third, *keys), "-", dump)
    assert found["usable"]
    assert found["notes"] == [
        f"ENCRYPTION_KEY {third.id} is retired in it: after the restore, configure a newer key, or run "
        f"`flask encryption reinstate {third.id}`."
    ]


@pytest.mark.parametrize("options", [[], ["-Fc"], ["--inserts"]], ids=["SQL", "archive", "inserts"])
def test_tables_that_were_left_out_are_named(dumps: Dumps, check, keys, options):
    found = check(keys, "-", dumps.make(*options, "--exclude-table=phone_systems", "--exclude-table-data=public.calls"))
    assert found["problems"] == [
        "These tables are in it without their rows: calls.",
        "These tables are not in it: phone_systems.",
    ]


def test_a_schema_without_rows_is_no_backup(dumps: Dumps, check, keys):
    for options in (["--schema-only"], ["--schema-only", "-Fc"]):
        assert check(keys, "-", dumps.make(*options))["problems"] == [
            "There is no table with rows in it: the backup has the schema alone, or nothing."
        ]


def test_rows_that_row_level_security_hid_are_missed(dumps: Dumps, check, keys, reader):
    """pg_dump fails by itself, unless it is told not to."""
    for hidden in ([], ["-Fc"]):
        dump = dumps.make("--enable-row-security", f"--role={reader}", *hidden)
        (problem,) = check(keys, "-", dump)["problems"]
        assert problem.startswith("Row-level security hid rows when it was made")


def test_the_migration_must_be_one_that_this_version_knows(dumps: Dumps, check, keys):
    dump = dumps.make()
    revision = re.search(rb"COPY public\.alembic_version .*\n(.*)\n", dump)[0]

    def of_revision(number: bytes) -> bytes:
        return dump.replace(revision, revision[:-5] + number + b"\n")

    assert check(keys, "-", of_revision(b"9999"))["problems"] == [
        "It is at migration 9999, which this version does not know: check it with the version that it was made of."
    ]
    found = check(keys, "-", of_revision(b"0012"))
    assert found["usable"]
    assert found["notes"] == ["It is from an older version: after the restore, run `flask db upgrade`."]
    (problem,) = check(keys, "-", dump.replace(revision, revision[:-5]))["problems"]
    assert "it is no backup of ours" in problem


def test_another_application_that_numbers_its_migrations_alike_is_not_taken_for_an_older_version(check, keys):
    dump = (
        b"--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.alembic_version (\n    version_num text\n);\n"
        b"CREATE TABLE public.users (\n    id integer\n);\nCOPY public.alembic_version (version_num) FROM stdin;\n"
        b"0001\n\\.\nCOPY public.users (id) FROM stdin;\n1\n\\.\n-- PostgreSQL database dump complete\n"
    )
    assert check(keys, "-", dump)["problems"] == [
        "These tables are not in it: api_credentials, calls, encryption_keys, encryption_rotations, memberships, "
        "payment_accounts, phone_systems, retired_encryption_keys, tenants."
    ]


def test_a_backup_of_an_older_version_has_everything_that_there_was_by_then(check, keys, tmp_path):
    url = f"sqlite:///{tmp_path / 'older.db'}"
    with running(make_settings(url)) as app:
        assert app.test_cli_runner().invoke(args=["db", "upgrade", "0009"]).exit_code == 0
    database = tmp_path / "older.db"
    found = check(keys, database)
    assert (found["usable"], found["migration"]) == (True, "0009")
    assert "It is from an older version: after the restore, run `flask db upgrade`." in found["notes"]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE api_keys")
        connection.execute("ALTER TABLE mails RENAME COLUMN content_encrypted TO content")
    assert check(keys, database)["problems"] == [
        "These tables are not in it: api_keys.",
        "These columns are not in it: mails.content_encrypted.",
    ]


def test_tables_of_two_schemas_are_not_taken_for_one(dumps: Dumps, check, keys):
    dump = dumps.make()
    again = re.search(rb"COPY public\.users .*?\\\.\n", dump, re.DOTALL)[0]
    found = check(keys, "-", dump.replace(again, again + again.replace(b"public", b"other")))
    assert found["problems"] == ["These tables are in it more than once, in several schemas: users."]


def test_a_row_with_too_few_values_is_counted(dumps: Dumps, check, keys):
    dump = re.sub(rb"(COPY public\.users .*\n.*)\t.*\n", rb"\1\n", dumps.make())
    assert check(keys, "-", dump)["problems"] == ["1 rows have not as many values as their table has columns."]


def test_a_line_without_an_end_does_not_fill_the_memory(dumps: Dumps, check, keys):
    dump = dumps.make().replace(LONG[:8].encode(), b"x")
    head = re.match(rb".*COPY public\.users .*?\n", dump, re.DOTALL)[0]
    (problem, *_) = check(keys, "-", head + b"x" * (33 * 1024 * 1024))["problems"]
    assert problem == "The backup has a line of more than 32 MiB, which no dump of AudiaPro has: it is damaged."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The backup is empty."),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(1000), "This is neither a dump of PostgreSQL nor an SQLite database."),
        (b"SELECT 1;\n", "This is neither a dump of PostgreSQL nor an SQLite database."),
        (b"\0" * 5000, "This is neither a dump of PostgreSQL nor an SQLite database."),
        (b"age-encryption.org/v1\n-> X25519 ", "This seems to be encrypted: decrypt it on the way"),
        (b"-----BEGIN PGP MESSAGE-----\n", "This seems to be encrypted: decrypt it on the way"),
        (b"\x85\x01\x0c\x03", "This seems to be encrypted: decrypt it on the way"),
        (b"toc.dat\0" + bytes(500), "This is pg_dump's tar format"),
        (b"\x28\xb5\x2f\xfd\0\0", "This is compressed: unpack it on the way"),
        (b"\x04\x22\x4d\x18-- PostgreSQL database dump\n", "This is compressed: unpack it on the way"),
        (b"PK\3\4-- PostgreSQL database dump\n", "This is compressed: unpack it on the way"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "This is a dump of a whole cluster"),
        (b"--\n-- PostgreSQL database dump\n--\n", CUT_OFF),
        (b"PGDMP", "pg_restore cannot read it to its end"),
        (b"PGDMP\1\x63\0" + bytes(100), "pg_restore cannot read it to its end (unsupported version"),
        (b"\x1f\x8b", "gzip cannot unpack it"),
        (b"\x1f\x8bhello", "gzip cannot unpack it"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "This is neither"),
        (b"SQLite format 3\0", CUT_OFF),
        (b"SQLite format 3\0" + bytes(4096), "The backup is damaged: SQLite"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_backup_is_told_in_one_sentence(check, tmp_path, content, said):
    file = tmp_path / "backup"
    file.write_bytes(content)
    for found in (check((new_key(),), file), check((new_key(),), "-", content)):
        (problem,) = found["problems"]
        assert said in problem
        assert not found["usable"]


def test_a_folder_and_a_file_that_is_not_there_are_mistakes_of_usage(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        result = run(app_with(new_key()), str(path))
        assert result.exit_code == 2
        assert "Error: Invalid value for 'FILE'" in result.stderr


def test_an_archive_without_pg_restore_at_hand_says_what_to_install(dumps: Dumps, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(app_with(new_key()), "-", stdin=dumps.make("-Fc"))
    assert result.exit_code == 1
    assert "takes pg_restore, which is not on the PATH: install postgresql-client" in result.stderr


def test_an_sqlite_database_that_is_cut_off_altered_or_in_use_is_told_so(sqlite_sample, check, tmp_path):
    sample, path = sqlite_sample
    keys, file = (sample.new, sample.old), tmp_path / "copy.db"
    content = path.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert check(keys, file)["problems"] == [CUT_OFF]
    assert check(keys, "-", file.read_bytes())["problems"] == [CUT_OFF]
    torn = bytearray(content)
    torn[8192:16384] = bytes(8192)
    file.write_bytes(torn)
    (problem, *_) = check(keys, file)["problems"]
    assert problem.startswith("The backup is damaged: SQLite")
    shutil.copy(path, file)
    user = sqlite3.connect(file)
    user.execute("PRAGMA journal_mode = WAL")
    user.execute("UPDATE tenants SET name = 'x'")
    user.commit()
    (problem,) = check(keys, file)["problems"]
    assert problem.startswith("Beside it lies copy.db-wal, with changes that are not in it yet")
    newest = tmp_path / "newest"
    newest.symlink_to(file)
    assert check(keys, newest)["problems"] == [problem]
    user.close()


def test_one_bit_of_a_value_in_an_sqlite_database_is_found(sqlite_sample, check, tmp_path):
    sample, path = sqlite_sample
    file = tmp_path / "copy.db"
    shutil.copy(path, file)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE users SET totp_secret_encrypted = substr(totp_secret_encrypted, 1, 60) || 'A'"
                       " || substr(totp_secret_encrypted, 62)")  # fmt: skip
    connection.commit()
    connection.close()
    found = check((sample.new, sample.old), file)
    (value,) = found["listed"]
    assert (value["column"], found["opened"]) == ("users.totp_secret", sample.values - 1)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value["row"])


def test_an_archive_of_a_newer_format_ends_at_once_though_more_is_to_come(check):
    """pg_restore has gone, and what decrypts goes on writing: neither waits for the other."""
    found = check((new_key(),), "-", b"PGDMP\1\x63\0" + bytes(20_000_000))
    assert found["problems"][0].startswith("pg_restore cannot read it to its end (unsupported version")


def test_pg_dump_itself_refuses_a_login_that_does_not_see_every_row(dumps: Dumps, reader):
    done = subprocess.run(["pg_dump", f"--role={reader}"], env=dumps.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "query would be affected by row-level security policy" in done.stderr
