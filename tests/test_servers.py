import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, Redis, TcpProxy, free_port
from tests.servers import postgres as postgres_module
from tests.servers import redis as redis_module

ROOT = Path(__file__).parent.parent

STARTER = """
import sys, time
from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, Redis
for server in (Postgres(FAST_BUT_NOT_DURABLE), Redis()):
    print(server.folder, server.port, flush=True)
if sys.argv[1:] == ["linger"]:
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def cluster():
    """A cluster that tests may stop: the run's own serves other workers."""
    with Postgres(FAST_BUT_NOT_DURABLE) as cluster:
        yield cluster


@pytest.fixture
def database(cluster):
    name = f"test_{uuid4().hex}"
    with psycopg.connect(cluster.create_database(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE words (word text)")
    yield name
    cluster.start()  # where a test failed while it was stopped
    cluster.drop_database(name)


@pytest.fixture
def proxy(cluster, database):
    with TcpProxy(cluster.url(database)) as proxy:
        yield proxy


def redis_client(url):
    """A client that reports the first failure; by default one tries again for seconds."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def words_in(url):
    with psycopg.connect(url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestPostgres:
    def test_the_cluster_of_the_run_makes_and_drops_databases(self, postgres):
        first, second = f"first_{uuid4().hex}", f"second_{uuid4().hex}"
        with psycopg.connect(postgres.create_database(first)) as connection:
            connection.execute("CREATE TABLE words AS SELECT 'Grüße' AS word")
        copy = psycopg.connect(postgres.create_database(second, template=first))
        assert copy.execute("SELECT word FROM words").fetchall() == [("Grüße",)]
        postgres.drop_database(first)
        postgres.drop_database(second)
        with pytest.raises(psycopg.OperationalError):
            copy.execute("SELECT 1")
        copy.close()
        postgres.drop_database(second)

    def test_it_is_utf_8_in_the_c_locale_and_has_the_settings_asked_for(self, cluster):
        expected = {
            "server_encoding": "UTF8",
            "lc_collate": "C",
            "TimeZone": "UTC",
            "max_connections": "200",
            "listen_addresses": "127.0.0.1",
            **FAST_BUT_NOT_DURABLE,
        }
        with psycopg.connect(cluster.url()) as connection:
            found = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
            collation = connection.execute("SELECT datcollate FROM pg_database WHERE datname = 'postgres'").fetchone()
        found["lc_collate"] = collation[0]
        assert {name: found[name] for name in expected} == expected

    def test_it_refuses_who_does_not_know_the_password(self, cluster):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(cluster.url().replace(cluster.password, "guess"))

    def test_it_keeps_address_and_data_over_a_restart(self, cluster, database):
        connection = psycopg.connect(cluster.url(database))
        connection.execute("INSERT INTO words VALUES ('committed')")
        connection.commit()
        connection.execute("INSERT INTO words VALUES ('open')")
        cluster.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
        assert words_in(cluster.url(database)) == ["committed"]

    def test_it_recovers_from_a_crash(self, cluster, database):
        with psycopg.connect(cluster.url(database)) as connection:
            connection.execute("INSERT INTO words VALUES ('committed')")
        cluster.stop("immediate")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(cluster.url(database))
        cluster.start()
        assert words_in(cluster.url(database)) == ["committed"]

    def test_a_dump_holds_what_is_stored(self, cluster, database):
        with psycopg.connect(cluster.url(database)) as connection:
            connection.execute("INSERT INTO words VALUES ('Grüße')")
        assert "Grüße" in cluster.pg_dump(database)
        assert "Grüße" not in cluster.pg_dump(database, "--schema-only")

    def test_it_runs_from_programs_that_only_their_owner_can_reach(self, monkeypatch):
        monkeypatch.setattr(postgres_module, "is_open_to_all", lambda folder: False)
        with Postgres(FAST_BUT_NOT_DURABLE) as cluster, psycopg.connect(cluster.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not cluster.folder.exists()


class TestRedis:
    def test_the_redis_of_the_run_answers(self, redis_url):
        with redis_client(redis_url) as client:
            assert client.ping()

    def test_it_refuses_who_does_not_know_the_password(self):
        with (
            Redis() as server,
            redis_client(server.url.replace(server.password, "guess")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()

    def test_it_comes_back_empty_at_the_same_address(self):
        with Redis() as server, redis_client(server.url) as client:
            client.set("word", "kept in memory")
            server.stop()
            with pytest.raises(redis.ConnectionError):
                client.get("word")
            server.start()
            assert client.get("word") is None
        assert not server.folder.exists()

    def test_a_machine_without_one_gets_a_sentence_that_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(redis_module.shutil, "which", lambda program: None)
        monkeypatch.setattr(redis_module.importlib.util, "find_spec", lambda package: None)
        with pytest.raises(RuntimeError, match="apt install redis-server"):
            Redis()


class TestCleaningUp:
    @pytest.mark.parametrize("end", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_nothing_is_left_of_the_servers_when_the_process_that_started_them_ends(self, end):
        arguments = ["linger"] if end else []
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with starter:
            servers = [starter.stdout.readline().split() for _ in range(2)]
            if end:
                assert all(is_listening(int(port)) for _, port in servers)
                starter.send_signal(end)
        for folder, port in servers:
            wait_until(lambda folder=folder: not Path(folder).exists())
            assert not is_listening(int(port))

    def test_a_server_that_was_killed_starts_again(self):
        with Redis() as server:
            os.kill(int((server.folder / "server.pid").read_text()), signal.SIGKILL)
            wait_until(lambda: not is_listening(server.port))
            server.start()
            assert is_listening(server.port)


class TestTcpProxy:
    def test_a_transaction_passes_through(self, proxy):
        with psycopg.connect(proxy.url) as connection:
            connection.execute("INSERT INTO words VALUES ('passed')")
            (size,) = connection.execute("SELECT length(%s)", ["x" * 5_000_000]).fetchone()
            (text,) = connection.execute("SELECT repeat('y', 5000000)").fetchone()
        assert (size, len(text)) == (5_000_000, 5_000_000)
        assert words_in(proxy.url) == ["passed"]

    def test_a_cut_ends_what_is_open_and_the_next_connection_succeeds(self, cluster, database, proxy):
        connection = psycopg.connect(proxy.url)
        connection.execute("INSERT INTO words VALUES ('open')")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        connection.close()
        assert words_in(proxy.url) == []

    def test_a_reply_to_a_commit_gets_lost_and_the_row_is_there(self, cluster, database, proxy):
        lost = proxy.swallow_replies_after(b"COMMIT")
        connection = psycopg.connect(proxy.url)
        connection.execute("INSERT INTO words VALUES ('stored')")
        assert not lost.is_set()
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        connection.close()
        assert lost.wait(10)
        assert words_in(cluster.url(database)) == ["stored"]

    def test_only_one_reply_gets_lost(self, proxy):
        proxy.swallow_replies_after(b"COMMIT")
        with pytest.raises(psycopg.OperationalError), psycopg.connect(proxy.url) as connection:
            connection.execute("INSERT INTO words VALUES ('first')")
        with psycopg.connect(proxy.url) as connection:
            connection.execute("INSERT INTO words VALUES ('second')")
        assert words_in(proxy.url) == ["first", "second"]

    def test_a_marker_that_comes_in_two_pieces_is_seen(self):
        with Redis() as server, TcpProxy(server.url) as proxy:
            lost = proxy.swallow_replies_after(b"PING")
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(b"PI")
                time.sleep(0.1)
                client.sendall(b"NG\r\n")
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
            assert lost.wait(10)

    def test_new_connections_are_refused_while_open_ones_go_on(self, proxy):
        with psycopg.connect(proxy.url) as connection:
            proxy.refuse()
            with pytest.raises(psycopg.OperationalError, match="refused"):
                psycopg.connect(proxy.url)
            assert connection.execute("SELECT 1").fetchone() == (1,)
            proxy.accept()
            assert words_in(proxy.url) == []

    def test_a_server_that_is_down_looks_like_a_reset(self, proxy, cluster):
        cluster.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.url)
        cluster.start()
        assert words_in(proxy.url) == []


def test_free_ports_can_be_listened_on():
    with socket.create_server(("127.0.0.1", free_port())):
        pass
