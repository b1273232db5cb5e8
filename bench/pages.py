"""The dashboard: each page beside the API calls that give a program the same, and what a first visit loads."""

from __future__ import annotations

import re
from statistics import median
from urllib.parse import urlencode

import psycopg

from bench.dataset import load
from bench.load import ask, gunicorn, request, seconds
from bench.report import Table
from bench.requests import EMAIL, PASSWORD, sign_in
from bench.setting import run_flask
from tests.servers import Postgres

PHONE_SYSTEMS, CALLS, TURNS = 20, 20_000, 60
MOST_TIMES, MOST_KILOBYTES = 2, 200
FORM = "application/x-www-form-urlencoded"
ACCEPT_GZIP = b"\r\nAccept-Encoding: gzip\r\n\r\n"

# Each page, and the calls that give a program the same. ID is a phone system, CALL a call. The figures of the overview,
# most of its work, have no call.
HEALTH = ["/api/phone-systems/ID/health"] * PHONE_SYSTEMS
PAGES = {
    "/overview": [
        "/api/me",
        "/api/phone-systems",
        *HEALTH,
        "/api/payment-accounts",
        "/api/api-credentials",
        "/api/members",
    ],
    "/calls": ["/api/me", "/api/phone-systems?limit=200", "/api/calls"],
    "/calls/CALL": ["/api/me", "/api/calls/CALL", "/api/phone-systems?limit=200"],
    "/phone-systems": ["/api/me", "/api/phone-systems", *HEALTH],
    "/phone-systems/ID": ["/api/me", "/api/phone-systems/ID", "/api/phone-systems/ID/health"],
    "/payment-accounts": ["/api/me", "/api/payment-accounts"],
    "/api-credentials": ["/api/me", "/api/api-credentials"],
    "/team": ["/api/me", "/api/members", "/api/invitations"],
    "/api-keys": ["/api/me", "/api/api-keys"],
    "/audit": ["/api/me", "/api/audit-events"],
    "/encryption": ["/api/me", "/api/encryption"],
    "/account": ["/api/me", "/api/sessions", "/api/me/second-factor"],
}


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_pages", PHONE_SYSTEMS)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    ids = add_calls(url)
    with gunicorn("wsgi:app", url) as port:
        bearer = f"Bearer {sign_in(port)}"
        cookie = browse_in(port)
        times = Table(f"Pages beside their API calls, one at a time, median of {TURNS}", "ms")
        for page, calls in PAGES.items():
            of_page = request("GET", with_ids(page, ids), "", cookie=cookie)
            of_calls = [request("GET", with_ids(call, ids), bearer) for call in calls]
            for answer in (ask(port, of_page), *(ask(port, one) for one in of_calls)):
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"{page}: {answer[:300]!r}")
            turns = [(seconds(port, [of_page]), seconds(port, of_calls)) for _ in range(TURNS)]
            shown, called = (median(taken) * 1000 for taken in zip(*turns, strict=True))
            times.add(f"{page}", shown, 1)
            times.at_most(f"{page}: times its {len(calls)} API calls, {called:.1f} ms", shown / called, MOST_TIMES)
        first = Table("First visit of the overview, with everything it loads", "kB")
        first.at_most("compressed as browsers ask for it", first_visit(port, cookie) / 1000, MOST_KILOBYTES, 0)
    return [times, first]


def add_calls(url: str) -> dict[str, str]:
    """Call records of four weeks. Returns the ids to ask for."""
    insert = (
        "INSERT INTO calls (id, tenant_id, phone_system_id, record_key, source, destination, started_at, answered_at,"
        " ended_at, duration_seconds, talk_seconds, disposition, details, demonstration, received_at)"
        " SELECT gen_random_uuid(), tenant_id, id, number::text, '+4420712' || number, '100', begins, begins,"
        " begins + interval '1 minute', 60, 58, CASE WHEN number %% 5 = 0 THEN 'no_answer' ELSE 'answered' END, '{}',"
        " false, begins FROM phone_systems, generate_series(1, %s) AS number,"
        " LATERAL (SELECT now() - number * interval '40 minutes' AS begins) AS at"
    )
    with psycopg.connect(url) as connection:
        connection.execute(insert, (CALLS // PHONE_SYSTEMS,))
        found = connection.execute("SELECT phone_system_id, id FROM calls LIMIT 1").fetchone()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    assert found is not None
    return {"ID": str(found[0]), "CALL": str(found[1])}


def with_ids(path: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        path = re.sub(rf"(?<=/){name}\b", value, path)
    return path


def browse_in(port: int) -> str:
    """The cookie of somebody who signed in as people do."""
    answer = ask(port, request("GET", "/sign-in", ""))
    token = re.search(rb'name="step-csrf_token"[^>]*value="([^"]+)"', answer)
    assert token is not None
    form = {"step-csrf_token": token[1].decode(), "step-email": EMAIL, "step-password": PASSWORD}
    body = urlencode(form).encode()
    answer = ask(port, request("POST", "/sign-in", "", FORM, body, cookie=cookie_of(answer)))
    if not answer.startswith(b"HTTP/1.1 303"):
        raise RuntimeError(f"the sign-in was answered by {answer[:300]!r}")
    return cookie_of(answer)


def cookie_of(answer: bytes) -> str:
    found = re.search(rb"(?i)^set-cookie: ([^;]+)", answer, re.MULTILINE)
    assert found is not None
    return found[1].decode()


def first_visit(port: int, cookie: str) -> int:
    """Bytes that are sent: of the page, and of each stylesheet, script and image in it."""
    page = ask(port, request("GET", "/overview", "", cookie=cookie)).partition(b"\r\n\r\n")[2]
    found = re.findall(r'(?:href|src)="(/[^"]+\?v=[^"]+)"', page.decode())
    asked = [request("GET", address, "").replace(b"\r\n\r\n", ACCEPT_GZIP) for address in set(found)]
    return len(page) + sum(len(ask(port, one).partition(b"\r\n\r\n")[2]) for one in asked)
