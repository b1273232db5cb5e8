"""`make bench`: measure everything in one run on one PostgreSQL, and print the tables of docs/performance.md.

`make bench ARGS="startup deliveries"` runs only the sections named.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from bench import backup, calls, deliveries, metrics, pages, requests, rotation, startup
from bench.report import Table
from tests.servers import Postgres

SECTIONS: dict[str, Callable[[Postgres], list[Table]]] = {
    "startup": startup.measure,
    "deliveries": deliveries.measure,
    "calls": calls.measure,
    "requests": requests.measure,
    "metrics": metrics.measure,
    "pages": pages.measure,
    "rotation": rotation.measure,
    "backup": backup.measure,
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(SECTIONS)
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}", flush=True)
    missed = []
    with Postgres() as postgres:  # with PostgreSQL's defaults: durable
        for name in names or SECTIONS:
            for table in SECTIONS[name](postgres):
                print(f"\n{table}", flush=True)
                missed += table.missed
    print(f"\n{len(missed)} bars missed: {'; '.join(missed)}" if missed else "\nEvery bar was reached.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
