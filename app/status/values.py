"""How many stored values each key has. To count them reads every row, so it is done beside the requests, every five
minutes at the most, and by one of a server's workers for all."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from app.encryption import AppEncryption, inventory
from app.extensions import db
from app.metrics import shared
from app.tenancy import system_scope

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 300


@dataclass(frozen=True)
class Count:
    """values: column, key id, and how many; each registered key with each column. counted_at: seconds since 1970."""

    counted_at: float
    values: list[tuple[str, str, int]]


class ValueCounter:
    """Of one application. What was counted is kept in the workers' folder, or, of a single process, in its memory."""

    def __init__(self) -> None:
        self._kept: Count | None = None
        self._counting = threading.Lock()

    def latest(self) -> Count | None:
        """What was counted last; None before the first time is over."""
        folder = shared.folder()
        if folder is None:
            return self._kept
        try:
            return Count(**json.loads((folder / "values.json").read_text()))
        except FileNotFoundError:
            return None

    def count_if_due(self) -> None:
        """Begin to count, unless that was done lately or is being done. Does not wait for it."""
        if self._is_due() and self._counting.acquire(blocking=False):
            app: Flask = cast(Any, current_app)._get_current_object()
            threading.Thread(target=self._count_beside, args=(app,), name="values", daemon=True).start()

    def _is_due(self) -> bool:
        latest = self.latest()
        return latest is None or not 0 <= time.time() - latest.counted_at < PAUSE_SECONDS

    def _count_beside(self, app: Flask) -> None:
        try:
            with _alone(shared.folder()) as is_alone:
                if is_alone and self._is_due():
                    with app.app_context():
                        self._keep(count_values())
        except (SQLAlchemyError, OSError) as error:  # whose text may hold parameters
            log.warning("the values of each key are not counted: %s", type(error).__name__)
        finally:
            self._counting.release()

    def _keep(self, count: Count) -> None:
        self._kept = count
        if folder := shared.folder():
            (folder / "values.new").write_text(json.dumps(asdict(count)))
            os.replace(folder / "values.new", folder / "values.json")


@contextmanager
def _alone(folder: Path | None) -> Iterator[bool]:
    """Whether no other worker is at it, which none can begin meanwhile."""
    if folder is None:
        yield True
        return
    with (folder / "values.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def count_values() -> Count:
    """Count now: of all tenants, column by column."""
    encryption: AppEncryption = current_app.extensions["encryption"]
    registry, found = encryption.registry, []
    reading = db.engine.execution_options(sqlite_begin="DEFERRED")  # nobody who writes waits for it
    with system_scope(), reading.connect() as connection:
        key_ids = registry.registered(connection)
        for column in inventory(registry.metadata):
            counts = registry.count_values(connection, column)
            used = {key_id for key_id in counts if key_id is not None}  # else it is empty
            found += [(column.name, key_id, counts.get(key_id, 0)) for key_id in sorted(used.union(key_ids))]
    return Count(time.time(), found)
