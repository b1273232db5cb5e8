"""A tenant with a million calls beside a hundred with ten thousand: its call log, its figures, its overview."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from statistics import median
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from app.pagination import PageQuery
from bench.dataset import load
from bench.load import gunicorn, request, seconds
from bench.pages import browse_in
from bench.report import Table
from bench.requests import EMAIL, PASSWORD
from bench.setting import ROOT, environment, run_flask
from tests.servers import Postgres

CALLS, OTHERS, CALLS_OF_OTHERS = 1_000_000, 100, 10_000
TURNS, DAYS, PAGE = 20, 30, 50
MOST_TIMES_BARE, LEAST_TIMES_SCANNED, MOST_MILLISECONDS, MOST_TIMES_FIRST = 3, 10, 300, 1.5

# Of five records three are legs of one call, the others calls by themselves: a record every half minute, for a year.
INSERT = """
    INSERT INTO calls (id, tenant_id, phone_system_id, record_key, linked_id, source, source_e164, destination,
        direction, extension, started_at, answered_at, ended_at, duration_seconds, talk_seconds, disposition, details,
        demonstration, received_at)
    SELECT gen_random_uuid(), %(tenant)s, %(phone_system)s, number::text,
        CASE WHEN number %% 5 < 3 THEN 'three' || number / 5 ELSE 'one' || number END,
        '020712' || number::bigint * 7919 %% 40000, '+4420712' || number::bigint * 7919 %% 40000, '1' || number %% 60,
        'inbound', '1' || number %% 60, begins, begins, begins + interval '1 minute', 60, 58,
        CASE WHEN number %% 5 = 0 THEN 'no_answer' ELSE 'answered' END, '{"lastapp": "Dial"}', false, begins
    FROM generate_series(1, %(calls)s) AS number,
        LATERAL (SELECT now() - number * interval '31 seconds' AS begins) AS at
"""
SCANNED = """
    SELECT count(*), count(talk), sum(talk), count(DISTINCT caller) FROM (
        SELECT coalesce(source_e164, source) AS caller, started_at,
            row_number() OVER one_call AS place, max(talk) OVER (PARTITION BY phone_system_id, linked_id) AS talk
        FROM (SELECT *, CASE WHEN disposition = 'answered' THEN talk_seconds END AS talk FROM calls) AS legs
        WHERE tenant_id = %(tenant)s
        WINDOW one_call AS (PARTITION BY phone_system_id, linked_id ORDER BY started_at, id)
    ) AS calls WHERE place = 1 AND started_at >= now() - interval '30 days'
"""


def measure(postgres: Postgres) -> list[Table]:
    url = load(postgres, "bench_calls", 1)
    tenant = _fill(url)
    run_flask(url, "create-user", EMAIL, "--tenant", "bench", "--role", "owner", stdin=f"{PASSWORD}\n")
    table = Table(f"A tenant with {CALLS:,} call records beside {OTHERS} with {CALLS_OF_OTHERS:,}", "ms")
    _service(url, tenant, table)
    with gunicorn("wsgi:app", url) as port:
        page = request("GET", f"/overview?days={DAYS}", "", cookie=browse_in(port))
        shown = median(seconds(port, [page]) for _ in range(TURNS)) * 1000
        table.at_most(f"/overview of {DAYS} days", shown, MOST_MILLISECONDS, 1)
    return [table]


def _fill(url: str) -> UUID:
    """The tenant of the million."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tenant_id, id FROM phone_systems").fetchone()
        assert found is not None
        connection.execute(INSERT, {"tenant": found[0], "phone_system": found[1], "calls": CALLS})
        for number in range(OTHERS):
            tenant = connection.execute(
                "INSERT INTO tenants (id, name, subdomain, time_zone, created_at, updated_at)"
                " VALUES (gen_random_uuid(), 'Other', %s, 'UTC', now(), now()) RETURNING id",
                [f"other-{number}"],
            ).fetchone()
            assert tenant is not None
            connection.execute(INSERT, {"tenant": tenant[0], "phone_system": None, "calls": CALLS_OF_OTHERS})
    run = _migration_of_legs()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(run)
        connection.execute("VACUUM (FULL, ANALYZE) calls")
        connection.execute("VACUUM calls")
        connection.execute("CHECKPOINT")
    return UUID(str(found[0]))


def _migration_of_legs() -> str:
    """Ties the legs, as deliveries do."""
    spec = spec_from_file_location("legs", ROOT / "migrations/versions/0020_calls_of_several_legs.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.TIE)


def _service(url: str, tenant: UUID, table: Table) -> None:
    """Through the service's own functions, and as plain SQL over a connection of the same login."""
    os.environ.update(environment(url))
    from app import create_app
    from app.calls import service
    from app.calls.models import Call
    from app.calls.period import Period
    from app.calls.statistics import overview
    from app.database import now
    from app.extensions import db
    from app.tenancy import tenant_scope

    columns = ", ".join(column.name for column in Call.__table__.columns)
    bare = (
        f"SELECT {columns} FROM calls WHERE tenant_id = %s AND started_at < %s"
        f" ORDER BY started_at DESC, id DESC LIMIT {PAGE + 1}"
    )
    app = create_app()
    with app.app_context(), tenant_scope(tenant), psycopg.connect(url) as connection:

        def page(cursor: str | None) -> Any:
            db.session.expunge_all()
            found = service.list_calls(db.session(), tenant, _query(PAGE, cursor), service.Filters())
            db.session.commit()
            return found

        def plain(before: Any) -> Any:
            rows = connection.execute(bare, [tenant, before]).fetchall()
            connection.commit()
            return rows

        moment = now()
        oldest = moment - timedelta(seconds=31 * (CALLS - PAGE))
        deepest = _cursor_at(service, db, tenant, oldest)
        first, first_bare, last, last_bare = _median_of(
            lambda: page(None), lambda: plain(moment), lambda: page(deepest), lambda: plain(oldest)
        )
        table.add("the newest page of the call log, bare SQL", first_bare, 2)
        table.at_most("… by the service, times that", first / first_bare, MOST_TIMES_BARE)
        table.add("the deepest page, bare SQL", last_bare, 2)
        table.at_most("… by the service, times that", last / last_bare, MOST_TIMES_BARE)
        table.at_most("… times the newest", last / first, MOST_TIMES_FIRST)

        def summary() -> Any:
            found = overview(db.session(), tenant, Period.last(ZoneInfo("Europe/London"), DAYS, now()))
            db.session.commit()
            return found

        def scan() -> Any:
            connection.execute("SET LOCAL enable_indexscan = off")
            connection.execute("SET LOCAL enable_indexonlyscan = off")
            connection.execute("SET LOCAL enable_bitmapscan = off")
            rows = connection.execute(SCANNED, {"tenant": tenant}).fetchall()
            connection.commit()
            return rows

        figures, scanned = _median_of(summary, scan)
        table.add(f"figures of {DAYS} days by scanning, without the period before", scanned, 1)
        table.add(f"figures of {DAYS} days, of the {DAYS} before, and of each day", figures, 1)
        table.at_least("… times as fast as scanning", scanned / figures, LEAST_TIMES_SCANNED, 1)


def _cursor_at(service: Any, db: Any, tenant: UUID, moment: Any) -> str:
    """Of the page that begins there: what the list gives when it is asked for nothing younger."""
    items, following = service.list_calls(db.session(), tenant, _query(1), service.Filters(until=moment))
    assert items
    assert following
    return str(following)


def _query(limit: int, cursor: str | None = None) -> PageQuery:
    return PageQuery(limit=limit) if cursor is None else PageQuery(limit=limit, cursor=cursor)


def _median_of(*candidates: Callable[[], Any]) -> list[float]:
    """Milliseconds of each, in turns."""
    taken: list[list[float]] = [[] for _ in candidates]
    for _ in range(TURNS):
        for own, candidate in zip(taken, candidates, strict=True):
            start = time.perf_counter()
            candidate()
            own.append(time.perf_counter() - start)
    return [median(own[1:]) * 1000 for own in taken]
