"""How long a start takes: of the application, until the first request is answered, and of a command that looks at
everything."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from urllib.request import urlopen

from bench.load import gunicorn
from bench.report import Table
from bench.setting import ROOT, environment, run_flask
from tests.servers import Postgres

RUNS = 5
SCRIPT = """
import time
start = time.perf_counter()
from app import create_app
imported = time.perf_counter()
create_app()
print(imported - start, time.perf_counter() - imported)
"""


def measure(postgres: Postgres) -> list[Table]:
    url = postgres.create_database("bench_startup")
    run_flask(url, "db", "upgrade")
    importing, making = (median(times) for times in zip(*(_make(url) for _ in range(RUNS)), strict=True))
    table = Table(f"Start, median of {RUNS}", "seconds")
    table.add("importing the application and its libraries", importing, 2)
    table.at_most("create_app()", making, 1.0)
    table.at_most("gunicorn with one worker, to the first request that it answers", median(_serve(url)), 2.0)
    table.at_most("flask doctor", median(_examine(url)), 5.0)
    return [table]


def _make(url: str) -> tuple[float, float]:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment(url), stdout=subprocess.PIPE, check=True)
    importing, making = map(float, done.stdout.split())
    return importing, making


def _serve(url: str) -> list[float]:
    """From the start of the process until it has answered that it is ready."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        with gunicorn("wsgi:app", url, WEB_CONCURRENCY="1") as port:
            urlopen(f"http://127.0.0.1:{port}/readyz").close()
            seconds.append(time.perf_counter() - start)
    return seconds


def _examine(url: str) -> list[float]:
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run_flask(url, "doctor")
        seconds.append(time.perf_counter() - start)
    return seconds
