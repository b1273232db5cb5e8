"""How long an application takes to be made."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from bench.report import Table
from bench.setting import ROOT, environment
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
    variables = environment(postgres.create_database("bench_startup"))
    command = [sys.executable, "-c", SCRIPT]
    runs = [
        subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, check=True).stdout.split()
        for _ in range(RUNS)
    ]
    importing, making = (median(map(float, seconds)) for seconds in zip(*runs, strict=True))
    table = Table(f"Start, median of {RUNS}", "seconds")
    table.add("importing the application and its libraries", importing, 2)
    table.at_most("create_app()", making, 1.0)
    return [table]
