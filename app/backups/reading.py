"""What readers of backups and those who look at the rows have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# A row's values as text, in the order of the columns; None for NULL.
Take = Callable[[Sequence[str | None]], None]


class Begin(Protocol):
    """Told of each table whose rows begin: by schema, name and columns. Returns what takes its rows, or None when they
    are of no interest. Of one table it may be told more than once."""

    def __call__(self, schema: str, table: str, columns: Sequence[str]) -> Take | None: ...


class Damaged(Exception):
    """A backup cannot be read, or not to its end. The message says why and what to do, and nothing of what is in it."""


class CutOff(Damaged):
    """A backup ends before its end. Raised at its end alone: nothing of it is left to be read."""

    def __init__(self) -> None:
        super().__init__("The backup ends before its end: it was cut off.")


@dataclass
class Contents:
    """What a backup has beside its rows. kind: what it is, in words.

    created: tables whose definition is in it. filled: tables whose rows are in it, even if there are none of them.
    misshapen: rows that have not as many values as their table has columns.
    hides_rows: it was made in such a way that row-level security applied.
    had_log: the database had a write-ahead log beside it, in which there may have been changes.
    """

    kind: str = ""
    created: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    misshapen: int = 0
    hides_rows: bool = False
    had_log: bool = False
