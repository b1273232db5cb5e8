"""Several workers under gunicorn: whichever is asked for the metrics, it answers for all of them."""

import json
import os
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import requests
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from app.metrics import shared
from app.metrics.counted import Counted
from tests.servers import free_port
from tests.status.scraped import Scraped
from tests.test_serving import FLASK, GUNICORN, PATIENCE, run, sqlite_url, started, wait_for_answer

__all__ = ["sqlite_url"]

TOKEN = "mon-7c41f0b9e2d85a6637fd1094be28c5d0a1b2"


def eventually(holds) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def folder_of(workers: list[int]) -> Path:
    (found,) = {
        file.parent
        for root in (Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp")))
        for file in root.glob(f"audiapro-metrics-*/gauge_livesum_{workers[0]}.db")
    }
    return found


def healthy_answers_of(folder: Path, worker: int) -> float:
    """How many a worker has counted by itself."""
    counted = MmapedDict.read_all_values_from_file(folder / f"counter_{worker}.db")
    return sum(value for key, value, _, _ in counted if '"route": "/healthz"' in key)


def test_workers_count_together_and_a_killed_one_takes_nothing_with_it(sqlite_url, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {"DATABASE_URL": sqlite_url, "PORT": str(port), "METRICS_TOKEN": TOKEN, "WEB_CONCURRENCY": "2"}

    def ask(path: str, token: str | None = None) -> requests.Response:
        return requests.get(url + path, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=10)

    def scraped() -> Scraped:
        answer = ask("/metrics", TOKEN)
        assert answer.status_code == 200
        return Scraped(answer.text)

    def healthy(found: Scraped) -> float:
        return found.value("http_requests_total", route="/healthz", method="GET", status="200")

    with started(GUNICORN, tmp_path / "log", **variables) as process:
        wait_for_answer(port, process)
        server = psutil.Process(process.pid)
        eventually(lambda: len(server.children()) == 2)
        workers = [child.pid for child in server.children()]
        eventually(lambda: scraped().value("workers") == 2)
        folder = folder_of(workers)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        asked = healthy(scraped())
        while not all(healthy_answers_of(folder, worker) for worker in workers):
            with ThreadPoolExecutor(8) as pool:
                assert {answer.status_code for answer in pool.map(ask, ["/healthz"] * 40)} == {200}
            asked += 40
        found = scraped()
        assert healthy(found) == asked
        name = "http_request_duration_seconds_count"
        assert found.value(name, route="/healthz", method="GET") == asked
        assert found.value("database_pool_in_use") >= 0

        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: {child.pid for child in server.children()}.isdisjoint(workers[:1]))
        eventually(lambda: len(server.children()) == 2 and scraped().value("workers") == 2)
        assert healthy(scraped()) == asked
        assert not list(folder.glob(f"*_{workers[0]}.db"))

        # The values of each key are counted by one of them, and known to all.
        eventually(lambda: scraped().value("encrypted_values_counted_timestamp_seconds"))
        told = {scraped().value("encrypted_values_counted_timestamp_seconds") for _ in range(10)}
        assert len(told) == 1

        refused = [ask("/metrics"), ask("/metrics", TOKEN + "x")]
        assert [answer.status_code for answer in refused] == [401, 401]
        assert [answer.headers["WWW-Authenticate"] for answer in refused] == ["Bearer", "Bearer"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert not folder.exists()
    assert TOKEN not in (tmp_path / "log").read_text()


def test_a_server_that_is_told_to_load_its_configuration_anew_goes_on_counting(sqlite_url, tmp_path):
    port = free_port()
    variables = {"DATABASE_URL": sqlite_url, "PORT": str(port), "METRICS_TOKEN": TOKEN, "WEB_CONCURRENCY": "1"}
    with started(GUNICORN, tmp_path / "log", **variables) as process:
        wait_for_answer(port, process)
        server = psutil.Process(process.pid)
        headers = {"Authorization": f"Bearer {TOKEN}"}

        def refusals() -> float:
            text = requests.get(f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=10).text
            return Scraped(text).value("http_requests_total", route="/api/me", method="GET", status="401")

        requests.get(f"http://127.0.0.1:{port}/api/me", timeout=10)
        assert refusals() == 1
        before = {child.pid for child in server.children()}
        process.send_signal(signal.SIGHUP)
        eventually(lambda: server.children() and {child.pid for child in server.children()}.isdisjoint(before))
        assert refusals() == 1


def test_a_file_that_a_killed_worker_left_half_written_stops_neither_the_server_nor_the_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "_folder", tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    key = json.dumps(["audiapro_x_total", "audiapro_x_total", {"a": "b"}, "X."])
    for pid, content in ((11, 2.0), (12, 3.0)):
        counted = MmapedDict(str(tmp_path / f"counter_{pid}.db"))
        counted.write_value(key, content, 0.0)
        counted.close()
    (tmp_path / "counter_13.db").touch()
    (tmp_path / "counter_14.db").write_bytes((64).to_bytes(4, "little") + bytes(4) + b"\xff" * 60)
    for pid in (11, 12, 13, 14, 15):
        shared.forget(pid)
    (metric,) = shared.Workers(tmp_path).collect()
    assert [sample.value for sample in metric.samples] == [5.0]
    assert {file.name for file in tmp_path.glob("*.db")} == {"counter_ended.db"}


def test_a_command_counts_in_no_folder_whatever_the_environment_says(sqlite_url, tmp_path):
    folder = tmp_path / "counted"
    folder.mkdir()
    elsewhere = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "missing"), "prometheus_multiproc_dir": str(folder)}
    done = run([*FLASK, "audit", "list"], DATABASE_URL=sqlite_url, **elsewhere)
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    assert not (tmp_path / "missing").exists()


def test_a_full_worker_is_seen_beside_an_idle_one(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "_folder", tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for pid, share in (("21", 0.0), ("22", 1.0)):
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda pid=pid: pid))
        Counted().pool_fullest.set(share)
    found = {family.name: family for family in shared.Workers(tmp_path).collect()}
    assert [sample.value for sample in found["audiapro_database_pool_fullest_ratio"].samples] == [1.0]
    shared.forget(22)
    found = {family.name: family for family in shared.Workers(tmp_path).collect()}
    assert [sample.value for sample in found["audiapro_database_pool_fullest_ratio"].samples] == [0.0]
