"""Call records delivered through gunicorn, against a bare route that inserts the same row."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode
from uuid import UUID

import psycopg

from bench.dataset import WEBHOOK_PASSWORD, load
from bench.load import CLIENTS, SETTING, Candidate, answers_per_second, request
from bench.report import Table
from tests.servers import Postgres

PHONE_SYSTEMS = 400  # deliveries come from many, so that none meets its rate limit
SHARE_OF_BARE, BATCH, LEAST_TIMES_SINGLE = 0.6, 100, 10
CREDENTIALS = "Basic " + base64.b64encode(b"pbx:" + WEBHOOK_PASSWORD).decode()


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_deliveries", PHONE_SYSTEMS)
    with psycopg.connect(url) as connection:
        tenant = connection.execute("SELECT id FROM tenants").fetchone()
        ids = [row[0] for row in connection.execute("SELECT id FROM phone_systems ORDER BY id")]
    assert tenant is not None

    def deliver(application: str) -> Candidate:
        def request_of(client: int, number: int) -> bytes:
            own = ids[client::CLIENTS]
            return delivery(own[number % len(own)], f"{application}.{number}")

        return Candidate(application, request_of, 201)

    def deliver_batch(client: int, number: int) -> bytes:
        own = ids[client::CLIENTS]
        return batch(own[number % len(own)], [f"batch.{number}.{place}" for place in range(BATCH)])

    bare, ours, batches = answers_per_second(
        url,
        deliver("bench.bare:app"),
        deliver("wsgi:app"),
        Candidate("wsgi:app", deliver_batch, 201),
        BENCH_TENANT=str(tenant[0]),
    )
    table = Table(f"Deliveries, {SETTING}", "records/s")
    table.add("bare Flask + Flask-SQLAlchemy route that inserts the same row", bare)
    table.add("the hook: authenticated by the stored password, validated, idempotent", ours)
    table.at_least("share of the bare route", ours / bare, SHARE_OF_BARE)
    table.add(f"the hook, {BATCH} records at a time", batches * BATCH)
    table.at_least("… times one at a time", batches * BATCH / ours, LEAST_TIMES_SINGLE, 1)
    return [table]


def delivery(phone_system: UUID, unique_id: str) -> bytes:
    """A delivery as Asterisk's CURL() sends it, with the password that the data set gave to this phone system."""
    body = urlencode(record(unique_id)).encode()
    return request("POST", f"/hooks/bench/{phone_system}/cdr", CREDENTIALS, "application/x-www-form-urlencoded", body)


def batch(phone_system: UUID, unique_ids: list[str]) -> bytes:
    """The same records at once, as an array of JSON."""
    body = json.dumps([record(unique_id) for unique_id in unique_ids]).encode()
    return request("POST", f"/hooks/bench/{phone_system}/cdr", CREDENTIALS, "application/json", body)


def record(unique_id: str) -> dict[str, str]:
    return {
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
