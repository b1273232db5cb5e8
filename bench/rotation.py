"""Rotation of the encryption key, against the floor of what it is made of and the loops that it replaces."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import psutil

import app  # noqa: F401  (loads every model)
from app.encryption.keyring import Keyring
from app.encryption.rotation import Rotation
from app.extensions import encryption
from bench import baselines
from bench.dataset import load, plain_under_a, settle
from bench.report import Table
from bench.setting import KEYS, ROOT, environment
from tests.servers import Postgres

ROWS = 50_000
MANY_ROWS = 500_000
FEW_ROWS = 5_000
ORM_ROWS = 50_000
SHARE_OF_FLOOR = 0.75
TIMES_FLUSH_PER_ROW = 4.0
TIMES_ONE_COMMIT = 1.5
MIB = 1024 * 1024


def measure(postgres: Postgres) -> list[Table]:
    return [compare(postgres, ROWS, runs=3), compare(postgres, MANY_ROWS, runs=1), memory(postgres)]


def compare(postgres: Postgres, rows: int, runs: int) -> Table:
    """Rotation beside its floor and the loops that it replaces. Of several runs, the median of each counts."""
    database = Database(load(postgres, f"bench_{rows}", rows))
    table = Table(f"Rotation of {2 * rows:,} values in {rows:,} rows", "values/s")
    for workers in (1, 2):
        measured = [database.measure(workers) for _ in range(runs)]
        crypto, updates, rotation, proof = (median(rates) for rates in zip(*measured, strict=True))
        floor = 1 / (1 / crypto + 1 / updates)
        processes = f"{workers} worker{'s' * (workers > 1)}"
        table.add(f"{processes}: crypto alone", crypto)
        table.add(f"{processes}: updates alone", updates)
        table.add(f"{processes}: floor, 1/(1/crypto + 1/updates)", floor)
        table.add(f"{processes}: rotation without the proof", rotation)
        table.add(f"{processes}: the proof", proof)
        table.add(f"{processes}: rotation with the proof", 1 / (1 / rotation + 1 / proof))
    plain = load(postgres, f"bench_{rows}_plain", min(rows, ORM_ROWS), plain_under_a)
    Database(plain).rotation(1)  # registers key B
    per_row = baselines.orm_loop(plain, KEYS["A"], KEYS["B"], flush_per_row=True)
    settle(plain)
    one_commit = baselines.orm_loop(plain, KEYS["B"], KEYS["A"], flush_per_row=False)
    table.add("ORM loop, MultiFernet.rotate, flush per row", per_row)
    table.add("ORM loop, MultiFernet.rotate, one commit at the end", one_commit)
    table.at_least("2 workers: rotation without the proof, share of the floor", rotation / floor, SHARE_OF_FLOOR)
    table.at_least("… times the loop with a flush per row", rotation / per_row, TIMES_FLUSH_PER_ROW)
    table.at_least("… times the loop with one commit", rotation / one_commit, TIMES_ONE_COMMIT)
    return table


class Database:
    """A database whose values are rotated to and fro between two keys."""

    def __init__(self, url: str) -> None:
        self.url = url.replace("postgresql:", "postgresql+psycopg:")
        self.old, self.new = KEYS["A"], KEYS["B"]

    def measure(self, workers: int) -> tuple[float, float, float, float]:
        """Values a second: crypto alone, updates alone, rotation, proof."""
        crypto = baselines.crypto_alone(workers)
        self.rotation(workers)  # registers the new key
        updates = baselines.updates_alone(self.url, Keyring(self.new, [self.old]), workers)
        self.turn()
        rotation = self.rotation(workers)
        start = time.perf_counter()
        rotation.re_encrypt()
        middle = time.perf_counter()
        rotation.prove()
        end = time.perf_counter()
        values = rotation.rotated.total()
        if values != rotation.proved.total() or rotation.count()[0]:
            raise RuntimeError("the rotation was not complete")
        self.turn()
        return crypto, updates, values / (middle - start), values / (end - middle)

    def rotation(self, workers: int) -> Rotation:
        rotation = Rotation(self.url, encryption.registry, Keyring(self.new, [self.old]), workers=workers)
        rotation.check(force=True)
        return rotation

    def turn(self) -> None:
        self.old, self.new = self.new, self.old
        settle(self.url.replace("+psycopg", ""))


def memory(postgres: Postgres) -> Table:
    """Peak memory of the command's processes, for few values and for many."""
    table = Table("Memory of `flask rotate-encryption-key --workers 2`, peak of its largest process", "MiB")
    few, many = (peak_memory(load(postgres, f"bench_memory_{rows}", rows)) for rows in (FEW_ROWS, MANY_ROWS))
    table.add(f"{2 * FEW_ROWS:,} values", few / MIB)
    table.at_most(f"{2 * MANY_ROWS:,} values", many / MIB, 200)
    table.at_most("the latter to the former", many / few, 1.2)
    return table


def peak_memory(url: str) -> int:
    """Bytes of resident memory that the largest of the command's processes reached."""
    command = [str(Path(sys.executable).with_name("flask")), "rotate-encryption-key", "--workers", "2"]
    process = psutil.Popen(command, cwd=ROOT, env=environment(url, "B", "A"), stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        for one in [process, *process.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, one.memory_info().rss)
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError("the rotation failed")
    return peak
