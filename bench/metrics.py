"""What metrics and structured logs cost a request, through gunicorn."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median

import psycopg

from bench.dataset import load, settle
from bench.load import ask, gunicorn, request, seconds
from bench.report import Table
from bench.requests import EMAIL, JSON, PASSWORD, ROWS, SHOWN, sign_in
from bench.setting import run_flask
from tests.servers import Postgres

SERVERS, TURNS, MOST = 8, 300, 0.05


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_metrics", ROWS)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    with psycopg.connect(url) as connection:
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM phone_systems")]
    with gunicorn("wsgi:app", url) as port:
        bearer = f"Bearer {sign_in(port)}"
    listing = request("GET", f"/api/phone-systems?limit={SHOWN}", bearer)

    def rename(number: int) -> bytes:
        body = json.dumps({"name": f"PBX {number}"}).encode()
        return request("PATCH", f"/api/phone-systems/{ids[number % len(ids)]}", bearer, JSON, body)

    table = Table(f"Metrics and log, one at a time, median of {SERVERS * TURNS}", "ms")
    for name, request_of in (
        ("GET /api/phone-systems", lambda _: listing),
        ("PATCH of a phone system, whose audit event is logged", rename),
    ):
        turns = [turn for _ in range(SERVERS) for turn in in_turns(url, request_of)]
        without, as_it_is = (median(taken) * 1000 for taken in zip(*turns, strict=True))
        table.add(f"{name}, without metrics and log", without, 2)
        table.add(name, as_it_is, 2)
        table.at_most("what they cost", 1 - without / as_it_is, MOST)
    return [table]


def in_turns(url: str, request_of: Callable[[int], bytes]) -> list[tuple[float, float]]:
    """Seconds until an answer, without and with metrics and log, by servers that were started for it: two of the same
    differ by some hundredths for as long as they run."""
    settle(url)
    with gunicorn("bench.unobserved:app", url) as unobserved, gunicorn("wsgi:app", url) as observed:
        for port in (unobserved, observed):
            answer = ask(port, request_of(0))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a request was answered by {answer[:300]!r}")
        turns = []
        for number in range(0, 2 * TURNS, 2):
            if number % 4:
                first = seconds(unobserved, [request_of(number)])
                turns.append((first, seconds(observed, [request_of(number + 1)])))
            else:
                first = seconds(observed, [request_of(number)])
                turns.append((seconds(unobserved, [request_of(number + 1)]), first))
        return turns
