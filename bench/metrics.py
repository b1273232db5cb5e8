"""What metrics and structured logs cost a request, through gunicorn."""

from __future__ import annotations

import json
from statistics import median

import psycopg

from bench.dataset import load, settle
from bench.load import ask, gunicorn, request, seconds
from bench.report import Table
from bench.requests import EMAIL, JSON, PASSWORD, ROWS, SHOWN, sign_in
from bench.setting import run_flask
from tests.servers import Postgres

TURNS, MOST = 2000, 0.05


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_metrics", ROWS)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    with psycopg.connect(url) as connection:
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM phone_systems")]
    table = Table(f"Metrics and log, one at a time, median of {TURNS}", "ms")
    with gunicorn("wsgi:app", url) as observed, gunicorn("bench.unobserved:app", url) as unobserved:
        bearer = f"Bearer {sign_in(observed)}"
        listing = request("GET", f"/api/phone-systems?limit={SHOWN}", bearer)

        def rename(number: int) -> bytes:
            body = json.dumps({"name": f"PBX {number}"}).encode()
            return request("PATCH", f"/api/phone-systems/{ids[number % len(ids)]}", bearer, JSON, body)

        for name, request_of in (
            ("GET /api/phone-systems", lambda _: listing),
            ("PATCH of a phone system, whose audit event is logged", rename),
        ):
            ports = (unobserved, observed)
            for port in ports:
                answer = ask(port, request_of(0))
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"a request was answered by {answer[:300]!r}")
            settle(url)
            taken: dict[int, list[float]] = {port: [] for port in ports}
            for turn in range(TURNS):
                for port in ports if turn % 2 else reversed(ports):
                    taken[port].append(seconds(port, [request_of(len(taken[port]) * 2 + (port == observed))]))
            without, as_it_is = (median(taken[port]) * 1000 for port in ports)
            table.add(f"{name}, without metrics and log", without, 2)
            table.add(name, as_it_is, 2)
            table.at_most("what they cost", 1 - without / as_it_is, MOST)
    return [table]
