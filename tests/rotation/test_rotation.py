"""``flask rotate-encryption-key`` as its documentation describes it, and the same on both databases."""

import json
import os
import re
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, create_engine, event

from app.config import ConfigurationError, load_settings
from app.encryption import sealed
from app.encryption.connections import RotationRefused, exclusive, is_running
from app.encryption.keyring import PLATFORM, Context
from app.encryption.registry import KeyRefused, KeyRegistry
from app.encryption.rotation import Rotation
from app.encryption.storage import inventory, storage_columns
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from tests.rotation.conftest import ROOT
from tests.rotation.points import PROOF, READ, RECORD, at, points, reading
from tests.rotation.world import (
    COLUMNS,
    JWT_SECRET_KEY,
    NEW,
    OLD,
    TEXTS,
    THIRD,
    assert_survived,
    key_id,
    keyring,
    phone_system,
    seal,
)
from tests.servers import free_port

ROTATE = "rotate-encryption-key"
MEGABYTE = "x" * 1_000_000


# Empty here: they are rotated where they are tested.
EMPTY = {
    "phone_systems.previous_webhook_password",
    "api_keys.token_hash",
    "audit_seals.content",
    "mails.content",
    "unreadable_deliveries.content",
    "users.recovery_code_hashes",
    "users.totp_secret",
}


def rows_of(world, table):
    return [row_id for name, row_id in world.ledger if name == table]


def assert_tells_no_secret(outcome):
    said = outcome.out + outcome.err
    for secret in (OLD, NEW, THIRD, JWT_SECRET_KEY, *(text for text in TEXTS if text)):
        assert secret.rstrip("=") not in said


def column_of(outcome, name):
    return next(column for column in outcome.json["columns"] if column["column"] == name)


class TestResult:
    def test_these_tests_know_every_encrypted_column(self):
        assert sorted([*COLUMNS, *EMPTY]) == sorted(column.name for column in inventory(db.metadata))

    def test_every_column_of_every_table_is_rotated_and_proved(self, world):
        world.fill(rows=7)
        before = world.stored()
        outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 0
        # 7 texts take turns, one of them is NULL.
        counts = {"total": 7, "null": 1, "rotated": 6, "already": 0, "unreadable": 0}
        none = dict.fromkeys(counts, 0)
        kept = {"column": "phone_systems.previous_webhook_password", **none, "total": 7, "null": 7}
        assert outcome.json.pop("seconds") >= 0
        assert {**outcome.json, "seconds": None} == {
            "primary": key_id(NEW),
            "columns": [
                kept if name == kept["column"] else {"column": name, **(none if name in EMPTY else counts)}
                for name in sorted([*COLUMNS, *EMPTY])
            ],
            "rotated": 24,
            "unreadable": 0,
            "proved": 24,
            "remaining": 0,
            "seconds": None,
        }
        assert list(outcome.json) == ["primary", "columns", "rotated", "unreadable", "proved", "remaining", "seconds"]
        assert list(outcome.json["columns"][0]) == ["column", *counts]
        assert_tells_no_secret(outcome)
        world.check(NEW)
        after = world.stored()
        assert all(after[place] != value for place, value in before.items() if value is not None)

    def test_a_second_run_says_that_there_is_nothing_to_do_and_rewrites_nothing(self, world):
        world.fill()
        assert world.flask(ROTATE).status == 0
        before = world.stored()
        outcome = world.flask(ROTATE)
        assert outcome.status == 0
        assert "Nothing to rotate. All 24 values were opened" in outcome.out
        counted = world.flask(ROTATE, "--json").json
        assert (counted["rotated"], counted["proved"]) == (0, 24)
        assert {column["already"] for column in counted["columns"] if column["column"] not in EMPTY} == {6}
        assert world.stored() == before

    def test_an_empty_database_is_nothing_to_do(self, world):
        outcome = world.flask(ROTATE)
        assert outcome.status == 0
        assert "Nothing to rotate. All 0 values" in outcome.out

    def test_values_under_the_new_key_already_are_counted_apart_and_left_alone(self, world):
        world.fill(rows=4, texts=["old"])
        world.start(NEW, OLD)
        with world.process(NEW, OLD) as session:
            changed = session.get(PhoneSystem, rows_of(world, "phone_systems")[0])
            changed.password = "new"
            world.commit(session, changed)
        value = world.stored()["phone_systems", changed.id, "password"]
        outcome = world.flask(ROTATE, "--json")
        expected = {"total": 4, "null": 0, "rotated": 3, "already": 1, "unreadable": 0}
        assert column_of(outcome, "phone_systems.password") == {"column": "phone_systems.password", **expected}
        assert column_of(outcome, "phone_systems.webhook_password")["rotated"] == 4
        assert (outcome.json["rotated"], outcome.json["proved"]) == (15, 16)
        assert world.stored()["phone_systems", changed.id, "password"] == value
        assert_survived(world, NEW, OLD)

    def test_a_webhook_password_that_is_kept_for_a_while_is_rotated_as_well(self, world):
        world.fill(rows=2, texts=["old"])
        with world.process(OLD) as session:
            changed = session.get(PhoneSystem, rows_of(world, "phone_systems")[0])
            changed.previous_webhook_password, changed.webhook_password = changed.webhook_password, "new"
            world.commit(session, changed)
        outcome = world.flask(ROTATE, "--json")
        expected = {"total": 2, "null": 1, "rotated": 1, "already": 0, "unreadable": 0}
        name = "phone_systems.previous_webhook_password"
        assert column_of(outcome, name) == {"column": name, **expected}
        world.check(NEW)

    def test_for_people_it_prints_a_line_for_each_column_and_one_for_all(self, world):
        world.fill()
        outcome = world.flask(ROTATE)
        lines = outcome.out.splitlines()
        assert lines[0] == f"{COLUMNS[3]}: 6 rotated, 0 already under {key_id(NEW)}, 1 empty, 0 unreadable"
        assert lines[-1].startswith(f"24 values rotated, 24 opened with {key_id(NEW)} alone, 0 unreadable, 0 remaining")
        assert outcome.err == ""
        assert_tells_no_secret(outcome)

    def test_no_event_of_the_orm_fires(self, world):
        world.fill()
        fired = []
        for name in ("load", "before_update", "after_update"):
            event.listen(PhoneSystem, name, lambda *_, name=name: fired.append(name))
        world.rotate(NEW, OLD)
        assert fired == []
        compared = [row.others for (table, _), row in world.ledger.items() if table == "phone_systems"]
        assert all(row["version"] == 1 and row["updated_at"] and "password_changed_at" in row for row in compared)
        world.check(NEW)  # which compares them with what is stored now

    def test_a_megabyte_survives(self, world):
        world.fill(rows=1, texts=[MEGABYTE, "🔑" * 250_000])
        world.rotate(NEW, OLD)
        assert_survived(world, NEW, OLD)


class TestDryRun:
    def test_it_counts_and_writes_nothing(self, world):
        world.fill()
        before = world.stored()
        written = []
        with points(lambda point: written.append(point.statement)):
            outcome = world.flask(ROTATE, "--dry-run", "--json")
        assert outcome.status == 0
        assert (outcome.json["rotated"], outcome.json["proved"], outcome.json["remaining"]) == (0, 0, 24)
        assert {column["rotated"] for column in outcome.json["columns"]} == {0}
        assert not [statement for statement in written if re.match(r"\s*(INSERT|UPDATE|DELETE|WITH)", statement)]
        assert world.stored() == before
        assert world.sql("SELECT count(*) FROM encryption_rotations") == [(0,)]
        assert world.sql("SELECT id FROM encryption_keys") == [(key_id(OLD),)]
        assert "Dry run: 24 values would be rotated" in world.flask(ROTATE, "--dry-run").out

    def test_it_finds_what_would_not_open(self, world):
        world.fill(texts=["a text"])
        row = rows_of(world, "phone_systems")[0]
        world.corrupt(
            "phone_systems", "password", row, world.stored()["phone_systems", row, "password"][:-8] + "AAAAAAAA"
        )
        outcome = world.flask(ROTATE, "--dry-run", "--json")
        assert outcome.status == 1
        assert outcome.json["unreadable"] == column_of(outcome, "phone_systems.password")["unreadable"] == 1
        assert f"phone_systems.password of row {row}" in outcome.err
        assert "27 values would be rotated" in world.flask(ROTATE, "--dry-run").out

    def test_it_refuses_what_the_rotation_would_refuse(self, world):
        world.fill()
        assert world.flask(ROTATE, "--dry-run", keys=(NEW,)).status == 78
        world.start(NEW, OLD)
        assert world.flask(ROTATE, "--dry-run", keys=(OLD, NEW)).status == 78


class TestRefusals:
    def test_no_encrypted_column_is_an_error(self, world):
        registry = SimpleNamespace(metadata=MetaData())
        rotation = Rotation(world.url, registry, world.rotation(NEW).keyring)
        with pytest.raises(RotationRefused, match="No encrypted column"):
            rotation.check()

    def test_an_unmigrated_database_is_refused(self, world):
        for table in reversed(db.metadata.sorted_tables):
            world.sql(f"DROP TABLE {table}")
        outcome = world.flask(ROTATE)
        assert outcome.status == 78
        assert "flask db upgrade" in outcome.err

    def test_a_missing_old_key_is_refused_before_the_first_write(self, world):
        world.fill()
        before = world.stored()
        outcome = world.flask(ROTATE, keys=(NEW,))
        assert outcome.status == 78
        assert key_id(OLD) in outcome.err
        assert "ENCRYPTION_KEY_FALLBACKS" in outcome.err
        assert_tells_no_secret(outcome)
        assert world.stored() == before
        assert world.sql("SELECT id FROM encryption_keys") == [(key_id(OLD),)]
        with pytest.raises(KeyRefused):
            world.start(NEW)
        assert world.flask(ROTATE).status == 0
        assert_survived(world, NEW, OLD)

    def test_swapped_keys_are_refused_before_the_first_write(self, world):
        world.fill()
        world.start(NEW, OLD)
        before = world.stored()
        outcome = world.flask(ROTATE, keys=(OLD, NEW))
        assert outcome.status == 78
        assert "swapped" in outcome.err
        assert f"Make {key_id(NEW)} the ENCRYPTION_KEY" in outcome.err
        assert "--force" in outcome.err
        assert_tells_no_secret(outcome)
        assert world.stored() == before
        assert_survived(world, NEW, OLD)

    def test_force_goes_back_to_an_older_key(self, world):
        world.fill()
        world.rotate(NEW, OLD)
        outcome = world.flask(ROTATE, "--force", "--json", keys=(OLD, NEW))
        assert outcome.status == 0
        assert (outcome.json["primary"], outcome.json["rotated"]) == (key_id(OLD), 24)
        world.check(OLD)

    def test_which_key_is_newer_does_not_depend_on_clocks(self, world):
        world.fill()
        world.start(NEW, OLD)
        world.sql("UPDATE encryption_keys SET created_at = '2001-01-01 00:00:00' WHERE id = :id", id=key_id(NEW))
        world.sql("UPDATE encryption_keys SET created_at = '2101-01-01 00:00:00' WHERE id = :id", id=key_id(OLD))
        assert world.flask(ROTATE, keys=(OLD, NEW)).status == 78
        assert_survived(world, NEW, OLD)

    def test_a_new_key_that_equals_the_old_one_is_refused_by_the_configuration(self, world):
        in_hex = world.rotation(OLD).keyring.secrets()[0].hex()
        for fallback in (OLD, in_hex):
            with pytest.raises(ConfigurationError) as refused:
                load_settings(world.environment(OLD, fallback), env_file=None)
            assert fallback not in str(refused.value)

    def test_row_level_security_makes_it_fail_instead_of_rotating_what_little_it_sees(self, on_postgres):
        world = on_postgres.fill()
        before = world.stored()
        role = f"rotator_{uuid4().hex}"
        world.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'unguessed'")
        world.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        world.sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
        address = world.url.rpartition("@")[2]
        world_of_role = {"ROTATION_DATABASE_URL": f"postgresql+psycopg://{role}:unguessed@{address}"}
        try:
            for options in ((), ("--dry-run",)):
                outcome = world.flask(ROTATE, *options, **world_of_role)
                assert outcome.status == 1
                assert "does not see every row" in outcome.err
                assert world.stored() == before
        finally:
            world.sql(f"DROP OWNED BY {role}")
            world.sql(f"DROP ROLE {role}")
        assert_survived(world, NEW, OLD)

    def test_a_lock_file_that_cannot_be_opened_is_named(self, on_sqlite):
        world = on_sqlite.fill()
        Path(f"{world.engine.url.database}.rotation-lock").mkdir()
        outcome = world.flask(ROTATE)
        assert outcome.status == 78
        assert "The lock file" in outcome.err
        assert "remove it" in outcome.err

    @pytest.mark.parametrize("command", [(ROTATE,), ("encryption", "status"), ("encryption", "verify")])
    def test_a_database_that_cannot_be_reached_is_told_with_the_reason(self, on_sqlite, command):
        unreachable = f"postgresql+psycopg://someone:canary@127.0.0.1:{free_port()}/audiapro"
        outcome = on_sqlite.flask(*command, ROTATION_DATABASE_URL=unreachable)
        assert outcome.status == 1
        assert outcome.err.startswith("The database cannot be used: PostgreSQL on 127.0.0.1")
        assert "refused" in outcome.err
        assert "canary" not in outcome.err

    @pytest.mark.parametrize("options", [["--workers", "0"], ["--batch-size", "0"], ["--key", "x"]])
    def test_nonsense_is_a_usage_error(self, world, options):
        assert world.flask(ROTATE, *options).status == 2


class TestUnreadableValues:
    @pytest.fixture
    def damaged(self, world):
        """A world with one damaged value of each kind: row id and key id as they are to be reported."""
        world.fill(rows=8, texts=["a text"])
        rows = rows_of(world, "phone_systems")
        values = [world.stored()["phone_systems", row, "password"] for row in rows]
        altered = values[0][:60] + ("A" if values[0][60] != "A" else "B") + values[0][61:]
        owner = world.ledger["phone_systems", rows[4]].others["tenant_id"]
        foreign = seal(THIRD, "phone_systems", "password", owner, rows[4], "a text")
        damage = {
            rows[0]: (altered, key_id(OLD)),
            rows[1]: (values[1][:-20], key_id(OLD)),
            rows[2]: ("hunter2 is my password", None),
            rows[3]: (values[5], key_id(OLD)),
            rows[4]: (foreign, key_id(THIRD)),
            rows[6]: ("", None),
        }
        for row, (value, _) in damage.items():
            world.corrupt("phone_systems", "password", row, value)
        return {row: key_id for row, (_, key_id) in damage.items()}

    @pytest.mark.parametrize("batch_size", ["2", "1000"])
    def test_they_are_reported_and_left_alone_and_the_rest_goes_on(self, world, damaged, batch_size):
        before = world.stored()
        outcome = world.flask(ROTATE, "--json", "--batch-size", batch_size)
        assert outcome.status == 1
        for row, key in damaged.items():
            lines = [line for line in outcome.err.splitlines() if str(row) in line]
            assert len(lines) == 1, "each is reported once"
            assert lines[0].startswith(f"phone_systems.password of row {row} (table phone_systems) ")
            assert lines[0].endswith(f"(key id {key or 'none'})")
        assert len(outcome.err.splitlines()) == len(damaged)
        assert "hunter" not in outcome.err + outcome.out
        assert_tells_no_secret(outcome)
        expected = {"total": 8, "null": 0, "rotated": 2, "already": 0, "unreadable": 6}
        assert column_of(outcome, "phone_systems.password") == {"column": "phone_systems.password", **expected}
        assert (outcome.json["rotated"], outcome.json["unreadable"], outcome.json["remaining"]) == (26, 6, 6)
        assert outcome.json["proved"] == 26
        after = world.stored()
        untouched = {("phone_systems", row, "password") for row in damaged}
        assert {place for place, value in before.items() if value is not None and after[place] == value} == untouched
        assert world.sql("SELECT unreadable, proved FROM encryption_rotations") == [(6, 26)]
        for place in untouched:
            world.ledger[place[:2]].plaintexts["password"] = "given anew"
            with world.process(NEW, OLD) as session:
                repaired = session.get(PhoneSystem, place[1])
                repaired.password = "given anew"
                world.commit(session, repaired)
        assert_survived(world, NEW, OLD)

    def test_what_looks_like_a_key_id_in_the_middle_of_a_plaintext_is_not_shown(self, world):
        world.fill()
        world.corrupt("api_credentials", "secret", rows_of(world, "api_credentials")[1], "cafedeadbeef0123456789")
        for command in (("encryption", "status"), ("encryption", "status", "--json"), (ROTATE,)):
            outcome = world.flask(*command)
            assert "edeadbee" not in outcome.out + outcome.err
        assert "1 under none" in world.flask("encryption", "status").out

    def test_a_dry_run_tells_of_those_under_the_primary_key_too(self, world):
        world.fill(key=NEW)
        row = rows_of(world, "api_credentials")[1]
        value = world.stored()["api_credentials", row, "secret"]
        world.corrupt("api_credentials", "secret", row, value[:-20])
        outcome = world.flask(ROTATE, "--dry-run")
        assert outcome.status == 1
        assert str(row) in outcome.err

    def test_neither_status_nor_verify_shows_what_is_in_them(self, world, damaged):
        for command in (("status",), ("status", "--json"), ("verify",), ("verify", "--json")):
            outcome = world.flask("encryption", *command)
            assert "hunter" not in outcome.out + outcome.err
            assert "er2 is m" not in outcome.out + outcome.err, "where the key id would be"
            assert_tells_no_secret(outcome)
        found = world.flask("encryption", "verify", "--json")
        assert found.status == 1
        assert found.json["opened"] == 26
        assert {value["row"]: value["key_id"] for value in found.json["unreadable"]} == {
            str(row): key for row, key in damaged.items()
        }
        assert [list(value) for value in found.json["unreadable"]] == [["column", "row", "key_id", "reason"]] * 6

    def test_one_that_is_damaged_meanwhile_is_reported_too(self, world):
        world.fill(texts=["a text"])
        early, late = rows_of(world, "phone_systems")[:2]
        value = world.stored()["phone_systems", early, "password"]
        world.put_back({("phone_systems", row, "webhook_password"): value for row in (early, late)})
        moved = {("phone_systems", late, "password"): value}
        with at("after", reading("phone_systems"), lambda: world.put_back(moved)):
            outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert outcome.json["unreadable"] == 3
        told = sorted(line.split(" (table")[0] for line in outcome.err.splitlines())
        assert told == [
            f"phone_systems.password of row {late}",
            f"phone_systems.webhook_password of row {early}",
            f"phone_systems.webhook_password of row {late}",
        ]

    def test_one_under_the_new_key_fails_the_proof(self, world):
        world.fill(texts=["a text"])
        world.rotate(NEW, OLD)
        row, other = rows_of(world, "payment_accounts")[:2]
        world.corrupt(
            "payment_accounts", "client_secret", row, world.stored()["payment_accounts", other, "client_secret"]
        )
        outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert f"payment_accounts.client_secret of row {row}" in outcome.err
        assert f"(key id {key_id(NEW)})" in outcome.err
        expected = {"total": 7, "null": 0, "rotated": 0, "already": 6, "unreadable": 1}
        assert column_of(outcome, "payment_accounts.client_secret") == {
            "column": "payment_accounts.client_secret",
            **expected,
        }
        assert (outcome.json["unreadable"], outcome.json["proved"], outcome.json["remaining"]) == (1, 27, 0)
        for_people = world.flask(ROTATE).out
        assert "All" not in for_people
        assert "27 opened" in for_people

    def test_one_that_its_table_refuses_by_now_spares_all_other_rows(self, on_postgres, naps):
        world = on_postgres.fill(texts=["a text"])
        row = rows_of(world, "phone_systems")[3]
        world.corrupt("phone_systems", "password", row, "plaintext")
        world.sql("ALTER TABLE phone_systems ADD CHECK (password_encrypted LIKE 'v1:%') NOT VALID")
        outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert f"phone_systems.password of row {row}" in outcome.err
        # The other value of that very row cannot be written either: PostgreSQL would check the whole row.
        assert (outcome.json["rotated"], outcome.json["unreadable"], outcome.json["remaining"]) == (26, 1, 2)

    def test_bytes_that_are_no_text_do_not_stop_it(self, on_sqlite):
        world = on_sqlite.fill(texts=["a text"])
        row = rows_of(world, "phone_systems")[0]
        broken = bytearray(world.stored()["phone_systems", row, "password"].encode())
        broken[50] |= 0x80
        world.corrupt("phone_systems", "password", row, bytes(broken))
        outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert f"phone_systems.password of row {row}" in outcome.err
        assert (outcome.json["rotated"], outcome.json["unreadable"], outcome.json["proved"]) == (27, 1, 27)


class TestVerifying:
    def test_a_rotation_beside_it_hides_no_value(self, world):
        world.fill(texts=["a text"])
        world.start(NEW, OLD)
        rotated = []

        def rotate_once(values):
            if not rotated:
                rotated.append(world.rotate(NEW, OLD).rotated)

        verifying = world.rotation(NEW, OLD, batch_size=1, on_progress=rotate_once)
        assert verifying.verify() >= 28
        assert rotated == [28]


class TestBatches:
    @pytest.mark.parametrize(("batch_size", "batches"), [(1, 19), (3, 9), (1000, 3)])
    def test_one_pass_reaches_every_row_whatever_the_size_of_a_batch(self, world, naps, batch_size, batches):
        world.fill(rows=7)  # phone systems have two secrets each, of the others one in seven has none
        written = []
        with points(lambda point: written.append(point.moment == "after" and bool(re.search(RECORD, point.statement)))):
            outcome = world.flask(ROTATE, "--batch-size", str(batch_size))
        assert outcome.status == 0
        assert sum(written) == batches
        assert naps.calls == []
        assert_survived(world, NEW, OLD)

    def test_statistics_from_before_the_rotation_do_not_make_it_sort_the_table_for_each_batch(self, on_postgres):
        on_postgres.fill(rows=2000, texts=["a text"])
        on_postgres.sql("ANALYZE phone_systems")
        plans = []

        @event.listens_for(Engine, "before_cursor_execute")
        def explain(connection, cursor, statement, parameters, context, executemany):
            if re.search(reading("phone_systems"), statement):
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))

        try:
            on_postgres.rotate(NEW, OLD, batch_size=500)
        finally:
            event.remove(Engine, "before_cursor_execute", explain)
        assert len(plans) >= 8, "of the rotation and of the proof"
        assert not [plan for plan in plans if "Index Scan using pk_phone_systems" not in plan or "Sort" in plan]

    def test_a_batch_holds_at_most_8_mib_and_at_least_one_row(self, world):
        world.fill(rows=1)
        tenant = world.ledger["phone_systems", rows_of(world, "phone_systems")[0]].others["tenant_id"]
        with world.process(OLD) as session:
            # A megabyte takes 1.33 when sealed.
            for text in ["x" * 1_000_000] * 4 + ["x" * 4_000_000]:
                world.commit(session, phone_system(tenant, password=text, webhook_password=text))
        sizes = []
        rotation = world.rotation(NEW, OLD, on_progress=sizes.append)
        rotation.check()
        tracemalloc.start()
        try:
            rotation.run()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        batches = [1, 7, 2, 2]  # the small ones go along with three rows of two megabytes
        assert sizes == batches * 2, "values a batch, sealed anew and then proved"
        assert peak < 80 * 1024 * 1024
        world.check(NEW)


class TestWorkers:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    @pytest.mark.parametrize("rows", [1, 7])
    def test_any_number_of_them_does_the_same_work(self, world, commands, tmp_path, workers, rows):
        world.fill(rows)
        values = sum(value is not None for value in world.stored().values())
        log = tmp_path / "log"
        outcome = commands.rotate(world, "--json", "--workers", str(workers), "--batch-size", "1", log=str(log))
        assert outcome.status == 0
        assert (outcome.json["rotated"], outcome.json["proved"]) == (values, values)
        assert_tells_no_secret(outcome)
        processes = {json.loads(line)[0] for line in log.read_text().splitlines()}
        if rows >= workers > 1:
            assert len(processes) == 1 + 2 * workers, "in the pass, and in the proof"
        assert_survived(world, NEW, OLD)

    def test_they_report_what_does_not_open(self, world, commands):
        world.fill(texts=["a text"])
        rows = rows_of(world, "phone_systems")
        for row in (rows[0], rows[-1]):
            world.corrupt("phone_systems", "password", row, world.stored()["phone_systems", rows[3], "password"])
        outcome = commands.rotate(world, "--json", "--workers", "2", "--batch-size", "2")
        assert outcome.status == 1
        assert (outcome.json["rotated"], outcome.json["unreadable"]) == (26, 2)
        assert all(str(row) in outcome.err for row in (rows[0], rows[-1]))

    def test_the_record_adds_up_what_all_of_them_did(self, world, commands):
        world.fill()
        assert commands.rotate(world, "--workers", "3", "--batch-size", "2").status == 0
        assert world.sql("SELECT planned, rotated, unreadable, proved FROM encryption_rotations") == [(24, 24, 0, 24)]


ODD_KEYS = {
    "integers": (Integer, [1, 2, 10]),
    "texts": (Text, ["a,b", "c", "null", "", "back\\slash", 'quo"te', "{x}"]),
}


class TestOddTables:
    @pytest.mark.parametrize("kind", ODD_KEYS)
    def test_any_name_and_any_key_will_do(self, world, kind):
        """As a history table has them: its own key, and the id of the row whose history it is."""
        type_, keys = ODD_KEYS[kind]
        metadata = MetaData()
        registry = KeyRegistry(metadata)
        table = Table(
            "Odd order", metadata, Column("a key", type_, primary_key=True), Column("of", Text, nullable=False),
            *storage_columns("secret", "odd.secret", owner=None, row="of"),
        )  # fmt: skip
        table.create(world.engine)
        old, new = keyring([OLD]), keyring([NEW, OLD])
        registry.check_and_register(world.engine, old)
        with world.engine.begin() as connection:
            for key in keys:
                value = sealed.seal(
                    old.primary, Context("odd.secret", PLATFORM, f"row {key}".replace("|", "")), b"text"
                )
                connection.execute(table.insert().values({"a key": key, "of": f"row {key}", "secret_encrypted": value}))
        rotation = Rotation(world.url, registry, new, workers=2, batch_size=2)
        rotation.check()
        result = rotation.run()
        assert (result.rotated, result.proved, result.remaining) == (len(keys), len(keys), 0)


class TestRecord:
    def test_it_shows_a_rotation_while_it_runs_and_after(self, world):
        world.fill()
        seen = []

        def look():
            seen.append(world.flask("encryption", "status", "--json").json["last_rotation"])
            seen.append(world.flask("encryption", "status").out)

        with at("before", READ, look, nth=3):  # api_credentials in batches of 4: 6 values in two of them
            assert world.flask(ROTATE, "--batch-size", "4").status == 0
        running, for_people = seen
        counts = ["planned", "rotated", "unreadable", "proved", "remaining"]
        assert list(running) == ["from", "to", "started_at", "finished_at", *counts]
        assert (running["from"], running["to"]) == ([key_id(OLD)], key_id(NEW))
        assert (running["planned"], running["rotated"], running["unreadable"]) == (24, 6, 0)
        assert (running["finished_at"], running["proved"], running["remaining"]) == (None, 0, None)
        assert "not finished" in for_people
        assert "6 of 24 values rotated" in for_people
        after = world.flask("encryption", "status", "--json").json
        finished_at = after["last_rotation"]["finished_at"]
        assert finished_at is not None
        done = {"rotated": 24, "proved": 24, "remaining": 0, "finished_at": finished_at}
        assert after["last_rotation"] == {**running, **done}
        assert {column["column"]: column["keys"] for column in after["columns"]} == {
            **{name: {} for name in EMPTY},
            **{name: {key_id(NEW): 6} for name in COLUMNS},
        }
        assert [(key["id"], key["values"]) for key in after["keys"]] == [(key_id(OLD), 0), (key_id(NEW), 24)]

    def test_it_counts_what_was_opened_and_what_was_not_while_the_proof_runs(self, world):
        world.fill()
        world.corrupt("api_credentials", "secret", rows_of(world, "api_credentials")[1], "nonsense")
        seen = []

        def look():
            seen.append(world.flask("encryption", "status", "--json").json["last_rotation"])

        with at("before", PROOF, look, nth=3):
            assert world.flask(ROTATE, "--batch-size", "4").status == 1
        (proving,) = seen
        counts = [
            proving[count] for count in ("planned", "rotated", "unreadable", "proved", "remaining", "finished_at")
        ]
        assert counts == [24, 23, 1, 5, None, None]

    def test_every_run_has_its_own(self, world):
        world.fill()
        for _ in range(2):
            world.rotate(NEW, OLD)
        found = world.sql("SELECT to_key_id, planned, rotated, proved FROM encryption_rotations ORDER BY id")
        assert found == [(key_id(NEW), 24, 24, 24), (key_id(NEW), 0, 0, 24)]


class TestBesideOthers:
    def test_a_second_rotation_is_told_that_one_runs(self, world):
        world.fill()
        seconds = []
        with at("before", READ, lambda: seconds.append(world.flask(ROTATE))):
            assert world.flask(ROTATE).status == 0
        assert seconds[0].status == 3
        assert "Another rotation" in seconds[0].err
        assert seconds[0].out == ""
        assert_survived(world, NEW, OLD)

    def test_the_next_one_may_follow_at_once(self, world):
        engine = create_engine(world.url)  # which keeps its connection, as a server has not yet noticed one to be gone
        with world.engine.connect() as connection:
            for broken_off in (False, True):
                with suppress(RotationRefused), exclusive(engine):
                    assert is_running(connection)
                    if broken_off:
                        raise RotationRefused
                assert not is_running(connection)
        engine.dispose()

    def test_the_database_of_the_service_is_not_asked_where_there_is_one_for_the_rotation(self, world):
        world.fill()
        elsewhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        assert world.flask(ROTATE, DATABASE_URL=elsewhere, ROTATION_DATABASE_URL=world.url).status == 0
        assert world.flask("encryption", "status", DATABASE_URL=elsewhere, ROTATION_DATABASE_URL=world.url).status == 0
        outcome = world.flask(ROTATE, DATABASE_URL=world.url, ROTATION_DATABASE_URL=elsewhere)
        assert outcome.status == 1
        assert "The database cannot be used" in outcome.err
        assert_survived(world, NEW, OLD)

    def test_rows_inserted_and_deleted_meanwhile_are_neither_missed_nor_brought_back(self, world):
        world.fill()
        rows = rows_of(world, "phone_systems")
        tenant = world.ledger["phone_systems", rows[0]].others["tenant_id"]
        world.start(NEW, OLD)

        def meanwhile():
            with world.process(OLD) as session:
                world.commit(session, phone_system(tenant, password="written by one that has only the old key"))
            with world.process(NEW, OLD) as session:
                world.commit(session, phone_system(tenant, password="written by one that has both"))
                world.delete(session, session.get(PhoneSystem, rows[1]), session.get(PhoneSystem, rows[5]))

        with at("after", reading("phone_systems"), meanwhile, nth=2):
            outcome = world.flask(ROTATE, "--json", "--batch-size", "3")
        assert outcome.status == 0
        assert column_of(outcome, "phone_systems.password")["total"] == 7
        assert_survived(world, NEW, OLD)


class TestProcess:
    """The command as operators start it."""

    def run(self, world, *command, keys=(NEW, OLD), **further):
        return subprocess.run(
            [sys.executable, "-m", "flask", *command],
            cwd=ROOT,
            env=os.environ | world.environment(*keys, **further),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_it_ends_with_the_status_that_is_documented(self, on_postgres):
        world = on_postgres.fill()
        done = self.run(world, ROTATE, "--json", "--workers", "2", "--batch-size", "2")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["rotated"] == 24
        refused = self.run(world, ROTATE, "--json", keys=(OLD, NEW))
        assert (refused.returncode, refused.stdout) == (78, "")
        assert "swapped" in refused.stderr
        assert_survived(world, NEW, OLD)

    def test_a_new_key_that_equals_the_old_one_ends_it_before_anything_else(self, on_sqlite):
        refused = self.run(on_sqlite, ROTATE, keys=(OLD, OLD))
        assert (refused.returncode, refused.stdout) == (78, "")
        assert OLD.rstrip("=") not in refused.stderr
        assert "Traceback" not in refused.stderr
