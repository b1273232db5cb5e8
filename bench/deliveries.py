"""Call records delivered through gunicorn, against a bare route that inserts the same row."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from uuid import UUID

import psycopg

from bench.dataset import WEBHOOK_PASSWORD, load
from bench.report import Table
from bench.setting import ROOT, environment
from tests.servers import Postgres, free_port

PHONE_SYSTEMS = 400  # deliveries come from many, so that none meets its rate limit
CLIENTS = 8
WARM_UP_SECONDS = 2.0
SECONDS = 8.0
ROUNDS = 3
SHARE_OF_BARE = 0.5


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_deliveries", PHONE_SYSTEMS)
    with psycopg.connect(url) as connection:
        tenant = connection.execute("SELECT id FROM tenants").fetchone()
        ids = [row[0] for row in connection.execute("SELECT id FROM phone_systems ORDER BY id")]
    assert tenant is not None
    rates: dict[str, list[float]] = {"bench.bare:app": [], "wsgi:app": []}
    for number in range(ROUNDS):
        for application, measured in rates.items():
            with gunicorn(application, url, tenant[0]) as port:
                measured.append(deliveries_per_second(port, ids, f"{application}{number}"))
    bare, ours = (median(measured) for measured in rates.values())
    table = Table(f"Deliveries, 2 workers, {CLIENTS} connections, median of {ROUNDS}", "records/s")
    table.add("bare Flask + Flask-SQLAlchemy route that inserts the same row", bare)
    table.add("the hook: authenticated by the stored password, validated, idempotent", ours)
    table.at_least("share of the bare route", ours / bare, SHARE_OF_BARE)
    return [table]


@contextmanager
def gunicorn(application: str, url: str, tenant: UUID) -> Iterator[int]:
    """Serve an application as `Procfile` does, on a free port, until the block ends."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("gunicorn")), application, "--bind", f"127.0.0.1:{port}"]
    variables = environment(url, BENCH_TENANT=str(tenant), WEB_CONCURRENCY="2")
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError("gunicorn ended")


def deliveries_per_second(port: int, ids: list[UUID], label: str) -> float:
    """New records a second, each delivered once, after a warm-up."""
    counts = [0] * CLIENTS
    failures: list[bytes] = []
    start = time.perf_counter() + WARM_UP_SECONDS
    end = start + SECONDS

    def deliver(client: int) -> None:
        own = ids[client::CLIENTS]
        connection = socket.create_connection(("127.0.0.1", port))
        number = 0
        while (now := time.perf_counter()) < end and not failures:
            number += 1
            connection.sendall(request(port, own[number % len(own)], f"{label}.{client}.{number}"))
            answer = read_answer(connection)
            if not answer.startswith(b"HTTP/1.1 201"):
                failures.append(answer)
            counts[client] += now >= start

    threads = [threading.Thread(target=deliver, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"a delivery was answered by {failures[0][:300]!r}")
    return sum(counts) / SECONDS


def request(port: int, phone_system: UUID, unique_id: str) -> bytes:
    """A delivery as Asterisk's CURL() sends it, with the password that the data set gave to this phone system."""
    fields = {
        "accountcode": "",
        "src": "+442071234567",
        "dst": "100",
        "dcontext": "test",
        "clid": '"Ada Lovelace" <+442071234567>',
        "channel": "Local/100@test-00000000;2",
        "dstchannel": "",
        "lastapp": "Hangup",
        "lastdata": "",
        "start": "2026-11-20 18:32:10",
        "answer": "2026-11-20 18:32:10",
        "end": "2026-11-20 18:32:12",
        "duration": "2",
        "billsec": "2",
        "disposition": "ANSWERED",
        "amaflags": "DOCUMENTATION",
        "uniqueid": unique_id,
        "userfield": "",
        "linkedid": unique_id,
    }
    body = urlencode(fields).encode()
    return (
        f"POST /hooks/bench/{phone_system}/cdr HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Basic {CREDENTIALS}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


CREDENTIALS = base64.b64encode(b"pbx:" + WEBHOOK_PASSWORD).decode()


def read_answer(connection: socket.socket) -> bytes:
    """One HTTP answer, whose length its head states."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536) or _closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65536) or _closed()
    return head + b"\r\n\r\n" + body


def _closed() -> bytes:
    raise ConnectionError("the server closed the connection before its answer was complete")
