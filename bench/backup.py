"""Checking a backup: how fast it is read, and that its memory does not grow with it. The dump is made as it is read."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.dataset import load
from bench.report import Table
from bench.rotation import MIB
from bench.setting import ROOT, environment
from tests.servers import Postgres

ROWS = 20_000
MEGABYTE = 1_000_000
SMALL, LARGE = 20 * MEGABYTE, 1_000 * MEGABYTE
CALL = re.compile(rb"COPY public\.calls .*?\n")
FINISH = "import resource, sys; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def measure(postgres: Postgres) -> list[Table]:
    load(postgres, "bench_backup", ROWS)
    dump = postgres.pg_dump("bench_backup").encode()
    database = postgres.url("bench_backup")
    table = Table(f"`flask backup check -` of SQL with {2 * ROWS:,} values, the rest calls", "")
    small_seconds, small = _check(database, dump, SMALL)
    large_seconds, large = _check(database, dump, LARGE)
    table.add(f"{SMALL // MEGABYTE:,} MB: MB/s, start included", SMALL / MEGABYTE / small_seconds)
    table.add(f"{LARGE // MEGABYTE:,} MB: MB/s", LARGE / MEGABYTE / large_seconds)
    table.add(f"{SMALL // MEGABYTE:,} MB: peak memory, MiB", small)
    table.at_most(f"{LARGE // MEGABYTE:,} MB: peak memory, MiB", large, 200, 0)
    table.at_most("the latter to the former", large / small, 1.2)
    values_seconds, values = _check(database, dump, len(dump) * 20, multiplied=20)
    table.add(f"{20 * 2 * ROWS:,} values: values/s", 20 * 2 * ROWS / values_seconds)
    table.at_most(f"{20 * 2 * ROWS:,} values: peak memory, MiB", values, 200, 0)
    return [table]


def _check(database: str, dump: bytes, size: int, multiplied: int = 1) -> tuple[float, float]:
    """Seconds that it takes, and MiB of memory at the most."""
    command = [str(Path(sys.executable).with_name("flask")), "backup", "check", "-"]
    measured = f"import subprocess, sys; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL); {FINISH}"
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", measured],
        cwd=ROOT,
        env=environment(database),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for chunk in _grown(dump, size) if multiplied == 1 else _multiplied(dump, multiplied):
            process.stdin.write(chunk)
        process.stdin.close()
        kilobytes = int(process.stdout.read())
    if process.returncode:
        raise RuntimeError("the backup was not found to be usable")
    return time.perf_counter() - begun, kilobytes * 1024 / MIB


def _grown(dump: bytes, size: int) -> Iterator[bytes]:
    """The dump with so many more calls that it has that size."""
    match = CALL.search(dump)
    assert match is not None
    columns = match[0].count(b",") + 1
    line = b"\t".join([b"01a2006f-d749-77da-ad98-e97be51842f0"] * 3 + [b"2026-11-21"] * (columns - 3)) + b"\n"
    chunk = line * (MEGABYTE // len(line))
    yield dump[: match.end()]
    for _ in range((size - len(dump)) // len(chunk)):
        yield chunk
    yield dump[match.end() :]


def _multiplied(dump: bytes, times: int) -> Iterator[bytes]:
    """The dump with all its phone systems so many times: as many values to open."""
    match = re.search(rb"COPY public\.phone_systems .*?\n", dump)
    assert match is not None
    end = dump.index(b"\\.\n", match.end())
    yield dump[: match.end()]
    for _ in range(times):
        yield dump[match.end() : end]
    yield dump[end:]
