"""Whatever breaks while the key is rotated, no acknowledged write is lost and the work can be finished.

Faults are real: processes are killed, connections cut, servers crashed. After each, :func:`assert_survived` judges.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import IntegrityError

from app.credentials.models import ApiCredential
from app.encryption import connections
from app.encryption.registry import KeyRefused
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from tests.rotation.conftest import migrate, sqlalchemy_url
from tests.rotation.points import PROOF, READ, RECORD, WRITE, Point, at, points, reading
from tests.rotation.world import NEW, OLD, SECRETS, World, assert_survived, key_id, keyring, phone_system, wait_until
from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, TcpProxy
from tests.servers.postgres import postgres_programs

ROTATE = "rotate-encryption-key"


def rows_of(world, table):
    return [row_id for name, row_id in world.ledger if name == table]


def tenant_of(world):
    return rows_of(world, "tenants")[0]


def write(world, keys, model, row_id, **columns):
    """One committed write by a process with these keys."""
    with world.process(*keys) as session:
        changed = session.get(model, row_id)
        for name, value in columns.items():
            setattr(changed, name, value)
        world.commit(session, changed)


def registered(world):
    return [row for (row,) in world.sql("SELECT id FROM encryption_keys ORDER BY generation")]


class Trials:
    """A small world that is put back after every fault, to try the next one."""

    def __init__(self, world):
        if not world.is_sqlite:  # whose connections take longer to make than what is asked for
            world.engine = create_engine(world.url).execution_options(bystander=True)
        self.world = world.fill(rows=1, texts=["one", "two"])
        with world.process(OLD) as session:
            world.commit(session, phone_system(tenant_of(world), password="three", webhook_password="four"))
        self.at_first = world.stored()
        self.known = set()
        self.close = world.engine.dispose

    def judge(self):
        """What a fault left behind. States that differ in ciphertext alone are rerun once."""
        self.world.settle()
        self.world.check(NEW, OLD)
        states = {place: value and value[3:11] for place, value in self.world.stored().items()}
        done = sum(used == key_id(NEW) for used in states.values())
        rotations = self.world.sql("SELECT rotated, finished_at IS NOT NULL FROM encryption_rotations")
        assert sum(rotated for rotated, _ in rotations) == done, "the record is part of what it records"
        state = (tuple(states.items()), tuple(map(tuple, rotations)), tuple(registered(self.world)))
        if state not in self.known:
            self.known.add(state)
            assert_survived(self.world, NEW, OLD)
        self.put_back()

    def put_back(self):
        self.world.put_back(self.at_first)
        self.world.sql("DELETE FROM encryption_rotations")
        self.world.sql("DELETE FROM encryption_keys WHERE id = :id", id=key_id(NEW))


def of_the_rotation(log):
    """Without the event in the audit trail, which comes when all is done, on a connection of the service."""
    return list(takewhile(lambda point: not re.search("set_config|audit_events", point.statement), log))


def worth_trying(log):
    """The points of a run that was logged: after each statement, and after each commit of something written.

    After a BEGIN or SET all is as it was before.
    """
    found = []
    wrote = committed = False
    for point in of_the_rotation(log):
        if point.moment == "before" and committed:
            found.append(point)
        if point.moment == "after" and not point.statement.startswith(("BEGIN", "SET")):
            found.append(point)
            wrote = wrote or not point.statement.startswith(("SELECT", "PRAGMA"))
        committed = wrote and point.statement == "COMMIT"
        wrote = wrote and not committed
    return found


def worth_trying_twice(log):
    """Those of them around what is written, and one of each stretch in which nothing is."""
    found = worth_trying(log)
    reads = [point.moment == "after" and point.statement.startswith(("SELECT", "PRAGMA")) for point in found]
    return [point for n, point in enumerate(found) if n == 0 or not (reads[n - 1] and reads[n])]


class TestKilled:
    @pytest.mark.parametrize(
        ("workers", "process", "choose"),
        [
            ("1", "MainProcess", worth_trying),
            ("2", "MainProcess", worth_trying_twice),
            ("2", "ForkProcess-1", worth_trying_twice),
            ("2", "ForkProcess-3", worth_trying_twice),
        ],
        ids=["alone", "with workers", "a worker of the pass", "a worker of the proof"],
    )
    def test_it_can_be_killed_after_any_statement_and_started_again(
        self, world, commands, tmp_path, workers, process, choose
    ):
        with closing(Trials(world)) as trials:
            options = ("--batch-size", "1", "--workers", workers)
            log = tmp_path / "log"
            assert commands.rotate(world, *options, log=str(log)).status == 0
            logged = [Point(*json.loads(line)) for line in log.read_text().splitlines()]
            trials.judge()
            for point in choose([point for point in logged if point.process == process]):
                command = commands.start(world, ROTATE, *options, kill=[process, point.number])
                outcome = command.wait()
                if process == "MainProcess":
                    assert outcome.status == -signal.SIGKILL
                else:
                    assert (outcome.status, outcome.out) == (1, "")
                    assert "a worker process was killed" in outcome.err
                wait_until_gone(command)
                trials.judge()
            assert len(trials.known) > 1 or process == "ForkProcess-3"

    def test_workers_end_when_the_one_that_started_them_is_killed(self, world, commands):
        world.fill(rows=20)
        with stopped(commands, world, "ForkProcess-1", "before", "UPDATE encryption_rotations") as command:
            workers = psutil.Process(command.pid).children()
            assert len(workers) == 2
            os.kill(command.pid, signal.SIGKILL)
        assert command.wait().status == -signal.SIGKILL
        wait_until_gone(command)
        assert not any(is_alive(worker) for worker in workers)
        assert key_id(OLD) in world.key_ids(), "they ended before their work did"
        assert_survived(world, NEW, OLD)

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_and_its_workers(self, world, commands, how):
        world.fill(rows=20)
        with stopped(commands, world, "ForkProcess-1", "before", "UPDATE encryption_rotations") as command:
            workers = psutil.Process(command.pid).children()
            assert len(workers) == 2
            if how == signal.SIGINT:
                os.killpg(command.pid, how)  # as a terminal sends it, to all of them
                outcome = command.wait()  # needs no worker to go on
            else:
                os.kill(command.pid, how)
        if how == signal.SIGTERM:
            outcome = command.wait()
        assert outcome.status in (-how, 1)
        assert outcome.out == ""
        wait_until_gone(command)
        assert not any(is_alive(worker) for worker in workers)
        assert_survived(world, NEW, OLD)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(command):
    """Wait for the end of everything that a command started: its process group is empty then."""

    def is_gone():
        try:
            os.killpg(command.pid, 0)
        except ProcessLookupError:
            return True
        return not any(is_alive(process) and _group(process) == command.pid for process in psutil.process_iter())

    wait_until(is_gone)


def _group(process):
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@contextmanager
def stopped(commands, world, process, moment, statement, *options, **faults):
    """A rotation by two workers of which one is stopped at a point for the time of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        stop = [process, moment, statement, listener.getsockname()[1]]
        options = ("--workers", "2", "--batch-size", "1", *options)
        command = commands.start(world, ROTATE, *options, stop=stop, **faults)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1)
            yield command


class TestConnectionLost:
    @pytest.fixture
    def trials(self, on_postgres):
        with closing(Trials(on_postgres)) as trials:
            yield trials

    @pytest.fixture
    def proxy(self, on_postgres):
        with TcpProxy(on_postgres.url) as proxy:
            yield proxy

    def rotate(self, world, proxy):
        return world.flask(ROTATE, "--batch-size", "1", ROTATION_DATABASE_URL=proxy.url)

    def log(self, trials, proxy):
        log = []
        with points(log.append):
            assert self.rotate(trials.world, proxy).status == 0
        trials.judge()
        return log

    def test_the_connection_can_be_cut_after_any_statement(self, trials, proxy):
        statuses = set()
        for place in worth_trying_twice(self.log(trials, proxy)):
            with points(lambda point, place=place: point.number == place.number and proxy.cut()):
                outcome = self.rotate(trials.world, proxy)
            assert "Broken off by the database" in outcome.err or trials.world.is_clean()
            statuses.add(outcome.status)
            trials.judge()
        assert 1 in statuses
        assert statuses <= {0, 1}

    def test_the_reply_to_any_commit_can_be_lost(self, trials, proxy):
        log = self.log(trials, proxy)
        log = of_the_rotation(log)
        writes = [point for point in worth_trying(log) if not point.statement.startswith("SELECT")]
        commits = [next(point for point in log[write.number :] if point.statement == "COMMIT") for write in writes[:-1]]
        assert len(set(commits)) > 5
        for place in sorted(set(commits)):
            lost = []

            def lose(point, place=place, lost=lost):
                if point.number == place.number:
                    lost.append(proxy.swallow_replies_after(b"COMMIT"))

            with points(lose):
                outcome = self.rotate(trials.world, proxy)
            assert lost[0].wait(30)
            assert outcome.status == 1
            assert "Broken off by the database" in outcome.err
            trials.judge()

    def test_workers_that_lose_the_connection_end_the_command(self, on_postgres, proxy, commands):
        world = on_postgres.fill()
        direct = world.url
        world.url = sqlalchemy_url(proxy.url)
        with stopped(commands, world, "ForkProcess-1", "after", "UPDATE encryption_rotations") as command:
            proxy.cut()
        world.url = direct
        outcome = command.wait()
        assert (outcome.status, outcome.out) == (1, "")
        assert "Broken off: a worker process failed: OperationalError" in outcome.err
        assert "Traceback" not in outcome.err
        assert_survived(world, NEW, OLD)


class TestServer:
    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    @pytest.mark.parametrize(
        ("moment", "statement", "nth"),
        [("after", RECORD, 3), ("before", PROOF, 2)],
        ids=["in a batch", "in the proof"],
    )
    def test_it_can_be_restarted_midway(self, on_crashing_postgres, crashing_databases, mode, moment, statement, nth):
        world = on_crashing_postgres.fill(rows=6)
        world.start(NEW, OLD)

        def restart():
            # Acknowledged just before: a crash may take batches of the rotation, which are done again, but not this.
            write(world, (NEW, OLD), PhoneSystem, rows_of(world, "phone_systems")[-1], password="last words")
            crashing_databases.postgres.restart(mode)

        with at(moment, statement, restart, nth):
            outcome = world.flask(ROTATE, "--batch-size", "2")
        assert outcome.status == 1
        assert "Broken off by the database" in outcome.err
        assert_survived(world, NEW, OLD)

    def test_postgresql_can_run_out_of_room(self):
        with CrowdedPostgres({**FAST_BUT_NOT_DURABLE, "autovacuum": "off"}) as cluster:
            world = World(sqlalchemy_url(cluster.create_database("crowded")))
            migrate(world.url)
            world.fill(rows=2)
            with world.process(OLD) as session:
                tenant, text = tenant_of(world), "x" * 1_000_000
                rows = [phone_system(tenant, password=text, webhook_password=text) for _ in range(5)]
                world.commit(session, *rows)  # 13 MB when sealed, all of which a rotation writes a second time
            cluster.restart_with_files_of_at_most(16 * 1024 * 1024)
            outcome = world.flask(ROTATE, "--batch-size", "1")
            assert outcome.status == 1
            assert "Broken off by the database" in outcome.err
            assert world.key_ids() == {key_id(OLD), key_id(NEW)}
            world.check(NEW, OLD)
            cluster.restart_with_files_of_at_most(resource.RLIM_INFINITY)
            assert_survived(world, NEW, OLD)

    def test_the_disk_of_sqlite_can_be_full(self, on_sqlite, commands):
        world = on_sqlite.fill(rows=30)
        world.start(NEW, OLD)
        full = Path(world.engine.url.database).stat().st_size  # the write-ahead log has no more room than that either
        outcome = commands.rotate(world, "--batch-size", "1", file_size=full)
        assert outcome.status == 1
        assert "Broken off by the database (OperationalError)" in outcome.err
        assert world.key_ids() == {key_id(OLD), key_id(NEW)}
        assert_survived(world, NEW, OLD)


class CrowdedPostgres(Postgres):
    """A cluster that can be given a bound for the size of each of its files."""

    limit = resource.RLIM_INFINITY

    def start(self):
        bound = (self.limit, self.limit)
        self._user["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, bound)
        super().start()

    def restart_with_files_of_at_most(self, limit):
        self.limit = limit
        self.restart()


class TestParent:
    def test_workers_end_with_it_also_while_they_wait_to_be_heard(self, world, commands):
        """Stopped, as by Ctrl-Z, it reads none of their messages; then it is killed."""
        world.fill(rows=400, texts=["a text"])
        world.start(NEW, OLD)
        command = commands.start(world, ROTATE, "--workers", "2", "--batch-size", "1")
        parent = psutil.Process(command.pid)
        wait_until(lambda: len(parent.children()) == 2)
        workers = parent.children()
        parent.suspend()
        wait_until(lambda: all(is_idle(worker) for worker in workers))
        parent.kill()
        command.wait()
        wait_until(lambda: not any(worker.is_running() for worker in workers))
        world.settle()
        assert commands.rotate(world).status == 0
        assert_survived(world, NEW, OLD)


def is_idle(process: psutil.Process) -> bool:
    before = process.cpu_times()
    time.sleep(0.3)
    return process.cpu_times() == before


class TestIsolation:
    def test_the_default_of_the_database_does_not_matter(self, on_postgres):
        world = on_postgres.fill(rows=20)
        name = world.engine.url.database
        world.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        world.rotate(NEW, OLD, workers=2, batch_size=1)
        assert_survived(world, NEW, OLD)


class TestLocks:
    def test_a_locked_table_ends_it_in_time(self, on_postgres):
        world = on_postgres.fill()
        shortened = []

        def shorten(connection, cursor, statement, parameters, *_):
            if "lock_timeout = '10s'" in statement:
                shortened.append(statement)
            return statement.replace("lock_timeout = '10s'", "lock_timeout = '200ms'"), parameters

        event.listen(Engine, "before_cursor_execute", shorten, retval=True)
        try:
            with psycopg.connect(world.url.replace("+psycopg", "")) as migration:
                lock = "LOCK TABLE phone_systems IN ACCESS EXCLUSIVE MODE"
                with at("before", WRITE, lambda: migration.execute(lock)):
                    outcome = world.flask(ROTATE)
        finally:
            event.remove(Engine, "before_cursor_execute", shorten)
        assert shortened
        assert outcome.status == 1
        assert "(LockNotAvailable)" in outcome.err
        assert_survived(world, NEW, OLD)

    def test_rows_that_a_writer_holds_are_passed_over_and_done_later(self, on_postgres, naps):
        world = on_postgres.fill(texts=["a text"])
        world.start(NEW, OLD)
        rows = {model: rows_of(world, model.__tablename__)[n] for n, model in enumerate(SECRETS)}
        with world.process(OLD) as session:  # which is stale, and so the rows are still to do when it has committed
            held = [session.get(model, row, with_for_update=True) for model, row in rows.items()]

            def let_go():
                waiting = {place[1] for place, value in world.stored().items() if value and value[3:11] == key_id(OLD)}
                assert waiting == set(rows.values()), "nothing but the rows that are held is left to do"
                held[0].password, held[1].client_secret, held[2].secret = "one", None, "three"
                world.commit(session, *held)
                naps.actions.clear()

            naps.actions.append(let_go)
            outcome = world.flask(ROTATE)
        assert outcome.status == 0
        assert len(naps.calls) == 1
        assert world.is_clean()
        assert_survived(world, NEW, OLD)

    def test_a_row_that_is_never_let_go_ends_it_after_some_passes(self, on_postgres, naps):
        world = on_postgres.fill()
        row = rows_of(world, "phone_systems")[3]
        with world.process(OLD) as session:
            session.get(PhoneSystem, row, with_for_update=True)
            outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert outcome.json["remaining"] == 2
        assert key_id(OLD) in outcome.err
        assert len(naps.calls) < 10
        assert_survived(world, NEW, OLD)

    def test_a_deadlock_with_a_writer_costs_the_rotation_its_batch_only(self, on_postgres, commands):
        world = on_postgres.fill()
        world.start(NEW, OLD)
        # Who waits last notices the deadlock, and must be the rotation.
        world.sql(f"ALTER DATABASE {world.engine.url.database} SET deadlock_timeout = '100ms'")
        row = rows_of(world, "api_credentials")[1]

        def write_in_the_worst_order():
            with world.process(NEW, OLD) as session:
                session.connection().exec_driver_sql("SET deadlock_timeout = '60s'")
                session.connection().exec_driver_sql("UPDATE encryption_rotations SET planned = planned")
                started.set()
                changed = session.get(ApiCredential, row)
                changed.secret = "written across a deadlock"
                world.commit(session, changed)

        started = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            with stopped(commands, world, "MainProcess", "after", "WITH taken", *WHOLE_TABLES) as command:
                writer = pool.submit(write_in_the_worst_order)
                assert started.wait(30)
                wait_until(lambda: world.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
            outcome = command.wait()
            writer.result(30)
        assert outcome.status == 1
        assert "(DeadlockDetected)" in outcome.err
        assert_survived(world, NEW, OLD)

    def test_sqlite_that_stays_busy_ends_it(self, on_sqlite, monkeypatch):
        world = on_sqlite.fill()
        monkeypatch.setattr(connections, "SQLITE_BUSY_SECONDS", 0.1)
        with (
            closing(sqlite3.connect(world.engine.url.database, isolation_level=None)) as other,
            at("after", READ, lambda: other.execute("BEGIN IMMEDIATE"), nth=2),  # the first batch is committed
        ):
            outcome = world.flask(ROTATE)
        assert outcome.status == 1
        assert "Broken off by the database (OperationalError)" in outcome.err
        assert world.key_ids() == {key_id(OLD), key_id(NEW)}
        assert_survived(world, NEW, OLD)

    def test_a_further_connection_of_a_process_takes_none_of_its_locks_away(self, on_sqlite):
        """Whoever believes to be the last one to leave removes the write-ahead log, also from under others."""
        world = on_sqlite.fill(rows=1)
        path = world.engine.url.database
        leave = f"import sqlite3; c = sqlite3.connect({path!r}); c.execute('DELETE FROM calls'); c.commit(); c.close()"
        with world.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE phone_systems SET name = name")
            connection.commit()
            world.engine.connect().close()
            subprocess.run([sys.executable, "-c", leave], check=True)
            assert Path(f"{path}-wal").exists()

    def test_sqlite_that_is_busy_for_a_while_is_waited_for(self, on_sqlite):
        world = on_sqlite.fill()
        other = sqlite3.connect(world.engine.url.database, isolation_level=None, check_same_thread=False)
        waits = threading.Event()

        def hold():
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE phone_systems SET name = name")
            waits.set()

        def let_go():
            assert waits.wait(60)
            other.execute("COMMIT")

        with closing(other), ThreadPoolExecutor(1) as pool:
            writer = pool.submit(let_go)
            with at("after", READ, hold, nth=2):
                outcome = world.flask(ROTATE)
            writer.result()
        assert outcome.status == 0
        assert_survived(world, NEW, OLD)


WHOLE_TABLES = ("--batch-size", "1000")  # so much that one process does all


class TestOtherRotations:
    def test_two_at_once_lose_nothing_whether_or_not_one_is_told_to_wait(self, world, commands):
        world.fill(rows=20)
        both = [commands.start(world, ROTATE, "--batch-size", "1") for _ in range(2)]
        statuses = sorted(command.wait().status for command in both)
        assert statuses in ([0, 3], [0, 0])
        assert_survived(world, NEW, OLD)

    def test_without_the_lock_each_value_is_still_rotated_once(self, world):
        world.fill(rows=6, texts=["a text"])
        first, second = (world.rotation(NEW, OLD, batch_size=4) for _ in range(2))
        first.check()
        with at("after", READ, second.re_encrypt, nth=2):
            first.re_encrypt()
        # The first one had written a batch and read another one; the second one did that one and all others.
        assert first.rotated.total() == 4
        assert second.rotated.total() == 20
        assert world.is_clean()
        assert_survived(world, NEW, OLD)

    def test_several_without_the_lock_lose_nothing(self, world):
        world.fill(rows=12)
        values = sum(value is not None for value in world.stored().values())
        rotations = [world.rotation(NEW, OLD, batch_size=2) for _ in range(3)]
        rotations[0].check()
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(rotation.re_encrypt) for rotation in rotations]:
                done.result(60)
        assert sum(rotation.rotated.total() for rotation in rotations) == values
        assert world.is_clean()
        assert_survived(world, NEW, OLD)


class TestWriters:
    @pytest.mark.parametrize("keys", [(NEW, OLD), (OLD, NEW)], ids=["new", "stale"])
    def test_a_write_between_reading_and_writing_wins(self, world, keys):
        world.fill(texts=["a text"])
        world.start(NEW, OLD)
        rows = rows_of(world, "phone_systems")

        def meanwhile():
            write(world, keys, PhoneSystem, rows[0], password="another")
            write(world, keys, PhoneSystem, rows[1], webhook_password="another")
            write(world, keys, PhoneSystem, rows[2], password=None, webhook_password=None)
            write(world, keys, PhoneSystem, rows[3], password="a text")
            write(world, keys, PhoneSystem, rows[4], name="Another name")
            other_tenant = next(row for row in rows_of(world, "tenants") if row != tenant)
            write(world, keys, PhoneSystem, rows[5], tenant_id=other_tenant)

        tenant = world.ledger["phone_systems", rows[5]].others["tenant_id"]
        with at("after", reading("phone_systems"), meanwhile):
            outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 0
        assert world.is_clean()
        assert world.sql("SELECT rotated FROM encryption_rotations") == [(outcome.json["rotated"],)]
        assert_survived(world, NEW, OLD)

    def test_a_value_that_comes_and_goes_is_neither_lost_nor_brought_back(self, world):
        world.fill(texts=[None, "a text"])
        world.start(NEW, OLD)
        rows = rows_of(world, "api_credentials")

        def meanwhile():
            for row in rows:
                was = world.ledger["api_credentials", row].plaintexts["secret"]
                write(world, (NEW, OLD), ApiCredential, row, secret="a text" if was is None else None)

        with at("after", reading("api_credentials"), meanwhile):
            assert world.flask(ROTATE).status == 0
        assert_survived(world, NEW, OLD)

    def test_a_stale_process_that_goes_on_writing_is_named_in_the_end(self, world, naps):
        world.fill()
        row = rows_of(world, "payment_accounts")[0]
        with in_every_pass(lambda: write(world, (OLD, NEW), PaymentAccount, row, client_secret="again")):
            outcome = world.flask(ROTATE, "--json")
        assert outcome.status == 1
        assert outcome.json["remaining"] == 1
        assert f"Values remain under {key_id(OLD)}" in outcome.err
        assert 2 < len(naps.calls) < 10, "it tries again some times, and then no more"
        assert_survived(world, NEW, OLD)

    def test_a_stale_process_that_stops_writing_in_time_costs_some_passes(self, world, naps):
        world.fill()
        row = rows_of(world, "payment_accounts")[0]

        def write_in_three_passes():
            if len(naps.calls) < 3:
                write(world, (OLD, NEW), PaymentAccount, row, client_secret=f"write {len(naps.calls)}")

        with in_every_pass(write_in_three_passes):
            assert world.flask(ROTATE).status == 0
        assert len(naps.calls) == 3
        assert_survived(world, NEW, OLD)

    def test_many_writers_on_every_column_meanwhile_lose_nothing(self, world, commands):
        world.fill(rows=24)
        world.start(NEW, OLD)
        tenant = tenant_of(world)
        over = threading.Event()

        rows = [(model, row) for model in SECRETS for row in rows_of(world, model.__tablename__)]

        def go_on(number, keys, most):
            """Updates, inserts and deletes rows of its own, over and over; what it reads must be what it wrote."""
            mine = rows[number::4]
            writes = 0
            while writes < most and not over.is_set():
                for model, row in mine:
                    with world.process(*keys) as session:
                        changed = session.get(model, row)
                        for attribute in SECRETS[model]:
                            last = world.ledger[model.__tablename__, row].plaintexts[attribute]
                            assert getattr(changed, attribute) == last
                            setattr(changed, attribute, None if writes % 5 == 4 else f"write {writes} by {number}")
                        world.commit(session, changed)
                        new = phone_system(tenant, password=f"write {writes} by {number}")
                        world.commit(session, new)
                        if writes % 2:
                            world.delete(session, new)
                    writes += 1
                    if writes >= most or over.is_set():
                        break
            return writes

        with ThreadPoolExecutor(4) as pool:
            writers = [
                pool.submit(go_on, number, keys, most)
                for number, (keys, most) in enumerate([((NEW, OLD), 1000)] * 2 + [((OLD, NEW), 20)] * 2)
            ]
            try:
                outcome = commands.rotate(world, "--workers", "2", "--batch-size", "3")
            finally:
                over.set()
            assert all(writer.result(60) for writer in writers)
        assert outcome.status in (0, 1), outcome.err
        assert_survived(world, NEW, OLD)


def in_every_pass(act):
    """Call ``act`` after payment accounts were read, before they are written."""

    def look(point):
        in_pass = not re.search(PROOF, point.statement)
        if point.moment == "after" and in_pass and re.search(reading("payment_accounts"), point.statement):
            act()

    return points(look)


class TestKeys:
    def test_the_new_one_can_be_retired_meanwhile_by_a_process_that_has_the_old_one(self, world):
        world.fill()
        world.start(NEW, OLD)

        def retire():
            world.registry.retire(world.engine, keyring([OLD, NEW]), key_id(NEW))

        with at("after", READ, retire):
            outcome = world.flask(ROTATE)
        assert outcome.status == 1
        assert f"the primary key {key_id(NEW)} was retired" in outcome.err
        world.registry.reinstate(world.engine, key_id(NEW))
        assert world.flask(ROTATE).status == 0
        assert_survived(world, NEW, OLD)

    @pytest.fixture
    def half_done(self, world):
        """A world whose rotation broke off: values are under both keys."""
        world.fill(rows=6)
        progress = []

        def break_off(values):
            progress.append(values)
            if len(progress) == 3:
                raise KeyboardInterrupt

        rotation = world.rotation(NEW, OLD, batch_size=3, on_progress=break_off)
        rotation.check()
        with pytest.raises(KeyboardInterrupt):
            rotation.run()
        assert world.key_ids() == {key_id(OLD), key_id(NEW)}
        return world

    def test_the_old_key_can_be_missing_halfway(self, half_done):
        before = half_done.stored()
        outcome = half_done.flask(ROTATE, keys=(NEW,))
        assert outcome.status == 78
        assert key_id(OLD) in outcome.err
        assert half_done.stored() == before
        assert_survived(half_done, NEW, OLD)

    def test_the_keys_can_be_swapped_by_mistake_halfway(self, half_done):
        before = half_done.stored()
        assert half_done.flask(ROTATE, keys=(OLD, NEW)).status == 78
        assert half_done.stored() == before
        assert_survived(half_done, NEW, OLD)

    def test_the_old_key_cannot_be_retired_halfway(self, half_done):
        outcome = half_done.flask("encryption", "retire", key_id(OLD))
        assert outcome.status == 1
        assert "still needed" in outcome.err
        assert_survived(half_done, NEW, OLD)
        assert half_done.flask("encryption", "retire", key_id(OLD)).status == 0
        half_done.start(NEW)
        half_done.check(NEW)

    def test_once_retired_the_old_key_seals_nothing_any_more(self, world):
        world.fill()
        world.rotate(NEW, OLD)
        assert world.flask("encryption", "retire", key_id(OLD)).status == 0
        with pytest.raises(IntegrityError):
            write(world, (OLD, NEW), PhoneSystem, rows_of(world, "phone_systems")[0], password="too late")
        assert_survived(world, NEW)

    def test_clocks_can_be_hours_off(self, world, naps):
        world.fill(rows=6, texts=["a text"])
        world.start(NEW, OLD)
        for table in ("phone_systems", "payment_accounts", "api_credentials"):
            for n, row in enumerate(rows_of(world, table)):
                moment = world.ledger[table, row].others["created_at"].replace(year=2001 + 100 * (n % 2))
                # Through SQLAlchemy's own types, which the two databases need.
                with world.process(OLD) as session:
                    model = next(model for model in SECRETS if model.__tablename__ == table)
                    changed = session.get(model, row)
                    changed.created_at = changed.updated_at = moment
                    world.commit(session, changed)
        world.sql("UPDATE encryption_keys SET created_at = '2101-01-01 00:00:00' WHERE id = :id", id=key_id(OLD))
        tenant = tenant_of(world)

        def insert_behind():
            """By a machine whose clock is behind: the new row comes before all that were read already."""
            with world.process(OLD, NEW) as session:
                early = phone_system(tenant, id=UUID("00000000-0000-7000-8000-000000000001"), password="early")
                world.commit(session, early)

        with at("after", reading("phone_systems"), insert_behind, nth=2):
            assert world.flask(ROTATE, "--batch-size", "2").status == 0
        assert world.is_clean()
        assert_survived(world, NEW, OLD)


class TestBackups:
    """The whole database, or some values of it, from before the rotation."""

    def test_a_database_from_before_the_rotation_is_refused_until_its_key_is_configured(
        self, world, tmp_path, databases
    ):
        world.fill()
        backup = back_up(world, databases, tmp_path)
        acknowledged = dict(world.ledger)
        world.rotate(NEW, OLD)
        world.flask("encryption", "retire", key_id(OLD))
        write(world, (NEW,), PhoneSystem, rows_of(world, "phone_systems")[0], password="lost with the restore")
        restored = backup()
        restored.ledger = acknowledged
        with pytest.raises(KeyRefused) as refused:
            restored.start(NEW)
        assert key_id(OLD) in str(refused.value)
        assert "ENCRYPTION_KEY_FALLBACKS" in str(refused.value)
        assert restored.flask(ROTATE, keys=(NEW,)).status == 78
        assert restored.flask("encryption", "status", keys=(NEW,)).status == 0, "which must work then"
        restored.start(NEW, OLD)
        restored.check(OLD)
        assert restored.flask(ROTATE).status == 0
        assert_survived(restored, NEW, OLD)

    def test_values_from_before_the_rotation_come_back_by_reinstating_their_key(self, world):
        world.fill()
        before = world.stored()
        world.rotate(NEW, OLD)
        assert world.flask("encryption", "retire", key_id(OLD)).status == 0
        with pytest.raises(IntegrityError):
            world.put_back(before)
        world.check(NEW)
        with pytest.raises(KeyRefused, match=f"flask encryption reinstate {key_id(OLD)}"):
            world.start(OLD, NEW)
        assert world.flask("encryption", "reinstate", key_id(OLD)).status == 0
        world.start(OLD, NEW)
        world.put_back(before)
        world.check(OLD)
        assert world.flask(ROTATE, keys=(NEW, OLD)).status == 78, "the key that came back is the newest now"
        assert world.flask(ROTATE, "--force", keys=(NEW, OLD)).status == 0
        world.check(NEW)


def back_up(world, databases, folder):
    """Copy a database. Returns what restores it."""
    if world.is_sqlite:
        copy = folder / "backup.db"
        with closing(sqlite3.connect(world.engine.url.database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

        def restore():
            path = Path(world.engine.url.database)
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
            shutil.copy(copy, path)
            return World(world.url)

        return restore
    dump = databases.postgres.pg_dump(world.engine.url.database)

    def restore_dump():
        name = world.engine.url.database
        databases.postgres.drop_database(name)
        restored = databases.postgres.create_database(name, "template0")
        psql = [postgres_programs() / "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", restored]
        subprocess.run(psql, input=dump, stdout=subprocess.DEVNULL, check=True, encoding="utf-8")
        return World(world.url)

    return restore_dump
