"""Call records delivered through gunicorn, against a bare route that inserts the same row."""

from __future__ import annotations

import base64
from statistics import median
from urllib.parse import urlencode
from uuid import UUID

import psycopg

from bench.dataset import WEBHOOK_PASSWORD, load
from bench.load import CLIENTS, ROUNDS, answers_per_second, gunicorn, request
from bench.report import Table
from tests.servers import Postgres

PHONE_SYSTEMS = 400  # deliveries come from many, so that none meets its rate limit
SHARE_OF_BARE = 0.5
CREDENTIALS = "Basic " + base64.b64encode(b"pbx:" + WEBHOOK_PASSWORD).decode()


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_deliveries", PHONE_SYSTEMS)
    with psycopg.connect(url) as connection:
        tenant = connection.execute("SELECT id FROM tenants").fetchone()
        ids = [row[0] for row in connection.execute("SELECT id FROM phone_systems ORDER BY id")]
    assert tenant is not None
    rates: dict[str, list[float]] = {"bench.bare:app": [], "wsgi:app": []}
    for round_number in range(ROUNDS):
        for application, measured in rates.items():

            def deliver(client: int, number: int, label: str = f"{application}{round_number}") -> bytes:
                own = ids[client::CLIENTS]
                return delivery(own[number % len(own)], f"{label}.{client}.{number}")

            with gunicorn(application, url, BENCH_TENANT=str(tenant[0])) as port:
                measured.append(answers_per_second(port, deliver, 201))
    bare, ours = (median(measured) for measured in rates.values())
    table = Table(f"Deliveries, 2 workers, {CLIENTS} connections, median of {ROUNDS}", "records/s")
    table.add("bare Flask + Flask-SQLAlchemy route that inserts the same row", bare)
    table.add("the hook: authenticated by the stored password, validated, idempotent", ours)
    table.at_least("share of the bare route", ours / bare, SHARE_OF_BARE)
    return [table]


def delivery(phone_system: UUID, unique_id: str) -> bytes:
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
    path, body = f"/hooks/bench/{phone_system}/cdr", urlencode(fields).encode()
    return request("POST", path, CREDENTIALS, "application/x-www-form-urlencoded", body)
