"""What a request costs beside its work: authentication, tenancy and the audit trail, through gunicorn."""

from __future__ import annotations

import json
import socket
import time
from statistics import median

import psycopg
from argon2 import PasswordHasher

from bench.dataset import load
from bench.load import CLIENTS, SETTING, Candidate, answers_per_second, gunicorn, read_answer, request
from bench.report import Table
from bench.setting import QUICK_HASHER, run_flask
from tests.servers import Postgres

ROWS, SHOWN = 400, 20
SIGN_INS = 60
EMAIL, PASSWORD = "owner@bench.example", "correct horse battery staple"
SHARE_OF_BARE, MOST_MILLISECONDS, MOST_FOR_AUDIT = 0.6, 10, 0.15
JSON = "application/json"


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_requests", ROWS)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    with psycopg.connect(url) as connection:
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM phone_systems")]
    with gunicorn("wsgi:app", url) as port:
        token = sign_in(port)
        # In turns: how fast the machine is changes from one minute to the next.
        turns = [(seconds_to_sign_in(port), seconds_to_verify()) for _ in range(SIGN_INS)]
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE users SET password_hash = %s", [QUICK_HASHER.hash(PASSWORD)])
    with gunicorn("bench.unhashed:app", url) as port:
        unhashed = median(seconds_to_sign_in(port) for _ in range(SIGN_INS)) * 1000
    bearer = f"Bearer {token}"
    listing = request("GET", f"/api/phone-systems?limit={SHOWN}", bearer)

    def rename(client: int, number: int) -> bytes:
        own = ids[client::CLIENTS]
        body = json.dumps({"name": f"PBX {number}"}).encode()
        return request("PATCH", f"/api/phone-systems/{own[number % len(own)]}", bearer, JSON, body)

    bare, ours = answers_per_second(
        url,
        Candidate("bench.bare:app", lambda *_: listing, 200),
        Candidate("wsgi:app", lambda *_: listing, 200),
    )
    unaudited, audited = answers_per_second(
        url,
        Candidate("bench.unaudited:app", rename, 200),
        Candidate("wsgi:app", rename, 200),
    )
    table = Table(f"Requests, {SETTING}", "requests/s")
    table.add(f"bare Flask + Flask-SQLAlchemy route that lists {SHOWN} phone systems, without authentication", bare)
    table.add("GET /api/phone-systems: authenticated, the tenant's alone", ours)
    table.at_least("share of the bare route", ours / bare, SHARE_OF_BARE)
    table.add("PATCH of a phone system without the audit trail", unaudited)
    table.add("PATCH of a phone system", audited)
    table.at_most("what the audit trail costs a write", 1 - audited / unaudited, MOST_FOR_AUDIT)
    signing = Table(f"Signing in, one at a time, median of {SIGN_INS}", "ms")
    waited, verifying = (median(seconds) * 1000 for seconds in zip(*turns, strict=True))
    signing.add("POST /api/login", waited, 1)
    signing.add("verifying an Argon2id hash at the same cost, by itself", verifying, 1)
    signing.at_most("POST /api/login with a hash that costs nothing: everything else", unhashed, MOST_MILLISECONDS, 1)
    return [table, signing]


def sign_in(port: int) -> str:
    """An access token."""
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request("POST", "/api/login", "", JSON, body))
        answer = read_answer(connection)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the sign-in was answered by {answer[:300]!r}")
    token: str = json.loads(answer.partition(b"\r\n\r\n")[2])["access_token"]
    return token


def seconds_to_sign_in(port: int) -> float:
    start = time.perf_counter()
    sign_in(port)
    return time.perf_counter() - start


def seconds_to_verify() -> float:
    start = time.perf_counter()
    HASHER.verify(HASH, PASSWORD)
    return time.perf_counter() - start


HASHER = PasswordHasher()
HASH = HASHER.hash(PASSWORD)
