"""The points of a rotation at which something can go wrong: before and after each of its statements."""

import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Engine, event

READ = r"CASE WHEN .* LIMIT "
"""The statement that reads a batch: what others commit after it, the rotation does not know of."""
PROOF = r"CASE WHEN \S+_key_id = .* LIMIT "
"""The same in the proof."""
WRITE = r"\A\s*(WITH taken|UPDATE (?!encryption_rotations))"
"""The statement that puts new values in place."""
RECORD = r"\AUPDATE encryption_rotations SET rotated"
"""The last statement of a batch."""


def reading(table: str) -> str:
    """:data:`READ` from one table."""
    return rf"CASE WHEN .* FROM {table} WHERE .* LIMIT "


class Point(NamedTuple):
    """``process``: as multiprocessing names it; ``number``: counts all the points of that process from 1."""

    process: str
    number: int
    moment: str
    statement: str


@contextmanager
def points(act: Callable[[Point], None]) -> Iterator[None]:
    """Call ``act`` before and after each statement, and before each commit, whose reply may never come.

    What comes after a commit is before the next statement. Connections marked as a bystander's are left alone, and so
    is what ``act`` itself does. Worker processes that are forked meanwhile have points of their own.
    """
    counts: Counter[int] = Counter()
    acting = False

    def reach(connection: Any, moment: str, statement: str) -> None:
        nonlocal acting
        if acting or connection.get_execution_options().get("bystander"):
            return
        counts[os.getpid()] += 1
        acting = True
        try:
            act(Point(multiprocessing.current_process().name, counts[os.getpid()], moment, statement))
        finally:
            acting = False

    def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        reach(connection, "before", statement)

    def after(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        reach(connection, "after", statement)

    def commit(connection: Any) -> None:
        reach(connection, "before", "COMMIT")

    listeners = {"before_cursor_execute": before, "after_cursor_execute": after, "commit": commit}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


@contextmanager
def at(moment: str, statement: str, act: Callable[[], None], nth: int = 1) -> Iterator[None]:
    """Call ``act`` once: before or after the ``nth`` statement of this process that fits the pattern."""
    times = 0

    def look(point: Point) -> None:
        nonlocal times
        if point.moment == moment and re.search(statement, point.statement):
            times += 1
            if times == nth:
                act()

    with points(look):
        yield
    assert times >= nth, f"only {times} statements were like {statement}"
