"""A server as an operator runs it, and several clients that ask it as fast as it answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from bench.dataset import settle
from bench.setting import ROOT, environment
from tests.servers import free_port

CLIENTS = 8
WARM_UP_SECONDS = 2.0
TURNS, TURN_SECONDS = 24, 1.0
SETTING = f"2 workers, {CLIENTS} connections, {TURNS} turns of a second each"
REQUESTS_PER_CONNECTION = 20  # whichever worker is quicker takes a connection: some would stay idle with fewer of them


@contextmanager
def gunicorn(application: str, url: str, **variables: str) -> Iterator[int]:
    """Serve an application as `Procfile` does, on a free port, until the block ends."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("gunicorn")), application, "--bind", f"127.0.0.1:{port}"]
    variables = environment(url, **{"WEB_CONCURRENCY": "2", **variables})
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


@dataclass(frozen=True)
class Candidate:
    """What is compared with others.

    application: as gunicorn is given it. request_of: what a client sends, by its number and that of the request, which
    does not come back. status: of every answer; any other ends the measurement.
    """

    application: str
    request_of: Callable[[int, int], bytes]
    status: int
    numbers: Iterator[int] = field(default_factory=count)


def answers_per_second(url: str, *candidates: Candidate, **variables: str) -> list[float]:
    """Requests answered a second by each candidate, after a warm-up.

    All of them are served at once and asked in turns of a second: how fast a machine is changes by the minute, and so
    it changes for all of them. Before each turn the tables are put in order, so that none finds what others left.
    """
    answered = [0] * len(candidates)
    with ExitStack() as servers:
        ports = [servers.enter_context(gunicorn(candidate.application, url, **variables)) for candidate in candidates]
        for port, candidate in zip(ports, candidates, strict=True):
            _ask(port, candidate, WARM_UP_SECONDS)
        for turn in range(TURNS):
            order = list(range(len(candidates)))
            for index in order if turn % 2 else reversed(order):
                settle(url)
                answered[index] += _ask(ports[index], candidates[index], TURN_SECONDS)
    return [count / (TURNS * TURN_SECONDS) for count in answered]


def _ask(port: int, candidate: Candidate, seconds: float) -> int:
    """How many requests were answered in that time."""
    counts = [0] * CLIENTS
    failures: list[bytes] = []
    expected = f"HTTP/1.1 {candidate.status}".encode()
    end = time.perf_counter() + seconds

    def ask(client: int) -> None:
        while time.perf_counter() < end and not failures:
            try:
                ask_some(client)
            except OSError as error:
                failures.append(str(error).encode())

    def ask_some(client: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for number in islice(candidate.numbers, REQUESTS_PER_CONNECTION):
                connection.sendall(candidate.request_of(client, number))
                answer = read_answer(connection)
                if not answer.startswith(expected):
                    failures.append(answer)
                counts[client] += time.perf_counter() < end

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"a request was answered by {failures[0][:300]!r}")
    return sum(counts)


def request(
    method: str, path: str, authorization: str, content_type: str = "", body: bytes = b"", cookie: str = ""
) -> bytes:
    """One HTTP request. authorization, cookie: empty for none."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += "".join(
        f"{name}: {value}\r\n" for name, value in (("Authorization", authorization), ("Cookie", cookie)) if value
    )
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def seconds(port: int, requests: list[bytes]) -> float:
    """Until they are answered, one after another."""
    start = time.perf_counter()
    for one in requests:
        ask(port, one)
    return time.perf_counter() - start


def ask(port: int, asked: bytes) -> bytes:
    """The answer, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(asked)
        return read_answer(connection)


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
