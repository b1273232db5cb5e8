"""What metrics and structured logs cost a request, through gunicorn."""

from __future__ import annotations

import json

import psycopg

from bench.dataset import load
from bench.load import CLIENTS, SETTING, Candidate, answers_per_second, gunicorn, request
from bench.report import Table
from bench.requests import EMAIL, JSON, PASSWORD, ROWS, SHOWN, sign_in
from bench.setting import run_flask
from tests.servers import Postgres

MOST = 0.05


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_metrics", ROWS)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    with psycopg.connect(url) as connection:
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM phone_systems")]
    with gunicorn("wsgi:app", url) as port:
        bearer = f"Bearer {sign_in(port)}"
    listing = request("GET", f"/api/phone-systems?limit={SHOWN}", bearer)

    def rename(client: int, number: int) -> bytes:
        own = ids[client::CLIENTS]
        body = json.dumps({"name": f"PBX {number}"}).encode()
        return request("PATCH", f"/api/phone-systems/{own[number % len(own)]}", bearer, JSON, body)

    table = Table(f"Metrics and log, {SETTING}", "requests/s")
    for name, request_of in (
        ("GET /api/phone-systems", lambda *_: listing),
        ("PATCH of a phone system, whose audit event is logged", rename),
    ):
        unobserved, observed = answers_per_second(
            url,
            Candidate("bench.unobserved:app", request_of, 200),
            Candidate("wsgi:app", request_of, 200),
        )
        table.add(f"{name}, without metrics and log", unobserved)
        table.add(name, observed)
        table.at_most("what they cost", 1 - observed / unobserved, MOST)
    return [table]
