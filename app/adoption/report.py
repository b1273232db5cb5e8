"""What is told of taking over: counts, and what could not be done. Never a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """What could not be done with one row.

    place: the table, or the files. row: its key. field: of ours, and columns: of the source; empty for the whole row.
    """

    section: str
    place: str
    row: str
    field: str
    columns: list[str]
    reason: str

    def __str__(self) -> str:
        column = f" (column {', '.join(self.columns)})" if self.columns else ""
        what = f", {self.field}{column}" if self.field else ""
        return f"{self.section}, row {self.row} of {self.place}{what}: {self.reason}"


@dataclass
class Counts:
    """What became of the rows of one section: each of ``rows`` is counted once among the next six, and what was done in
    the source on top of that. ``gone``: removed from the source meanwhile; ``deleted``: adopted before, and deleted
    here since; ``empty``: without any secret."""

    section: str
    rows: int = 0
    adopted: int = 0
    already: int = 0
    deleted: int = 0
    empty: int = 0
    gone: int = 0
    failed: int = 0
    blanked: int = 0
    not_blanked: int = 0

    def add(self, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)


def shown_key(key: object) -> str:
    """What tells a row apart, on one line of a terminal."""
    text = key.hex() if isinstance(key, bytes) else str(key)
    return "".join(character if character.isprintable() else "?" for character in text[:100])
