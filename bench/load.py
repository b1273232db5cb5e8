"""A server as an operator runs it, and several clients that ask it as fast as it answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.setting import ROOT, environment
from tests.servers import free_port

CLIENTS = 8
WARM_UP_SECONDS = 2.0
SECONDS = 8.0
ROUNDS = 3
REQUESTS_PER_CONNECTION = 20  # whichever worker is quicker takes a connection: some would stay idle with fewer of them


@contextmanager
def gunicorn(application: str, url: str, **variables: str) -> Iterator[int]:
    """Serve an application as `Procfile` does, on a free port, until the block ends."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("gunicorn")), application, "--bind", f"127.0.0.1:{port}"]
    variables = environment(url, WEB_CONCURRENCY="2", **variables)
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


def answers_per_second(port: int, request_of: Callable[[int, int], bytes], status: int) -> float:
    """Requests answered a second, after a warm-up.

    request_of: what a client sends, by its number and that of its request. status: of every answer; any other ends
    the measurement.
    """
    counts = [0] * CLIENTS
    failures: list[bytes] = []
    expected = f"HTTP/1.1 {status}".encode()
    start = time.perf_counter() + WARM_UP_SECONDS
    end = start + SECONDS

    def ask(client: int) -> None:
        number = 0
        while time.perf_counter() < end and not failures:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                for _ in range(REQUESTS_PER_CONNECTION):
                    number += 1
                    connection.sendall(request_of(client, number))
                    answer = read_answer(connection)
                    if not answer.startswith(expected):
                        failures.append(answer)
                    counts[client] += start <= time.perf_counter() < end

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"a request was answered by {failures[0][:300]!r}")
    return sum(counts) / SECONDS


def request(method: str, path: str, authorization: str, content_type: str = "", body: bytes = b"") -> bytes:
    """One HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


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
