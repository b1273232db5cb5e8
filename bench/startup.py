"""How long an application takes to be made."""

from __future__ import annotations

import subprocess
import sys

from bench.report import Table
from bench.setting import ROOT, environment
from tests.servers import Postgres

RUNS = 5
SCRIPT = """
import time
start = time.perf_counter()
from app import create_app
create_app()
print(time.perf_counter() - start)
"""


def measure(postgres: Postgres) -> list[Table]:
    variables = environment(postgres.create_database("bench_startup"))
    command = [sys.executable, "-c", SCRIPT]
    seconds = [
        float(subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(RUNS)
    ]
    table = Table("Start", "seconds")
    table.at_most(f"import and create_app(), median of {RUNS}", sorted(seconds)[RUNS // 2], 1.0)
    return [table]
