"""Where another application has its values: what a table and a folder of files have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, Protocol

Record = dict[str, object]

OLD_COPIES: Final = (
    "what is blanked stays in older copies of the source: backups, replicas, write-ahead logs, free pages until the "
    "next VACUUM. Destroy those, or replace the secrets where they are used."
)


class SourceFailed(Exception):
    """The source cannot be read or written any more. The message says why; the work can be taken up again."""


class NotBlanked(Exception):
    """One row of the source stays as it is. ``reason``: why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Source(Protocol):
    """The rows that a section of the mapping is about. Every method raises :class:`SourceFailed`."""

    place: str
    """What people find it by: the table, or the files."""

    def problems(self) -> list[str]:
        """What speaks against reading it at all. To be asked before anything else."""

    def count(self) -> int:
        """How many rows there are."""

    def each_key(self) -> Iterator[object]:
        """What tells the rows apart, of each of them."""

    def read(self, key: object) -> Record | None:
        """The row as it is now; None if it is gone. Raises :class:`~app.encryption.adoption.NotAdoptable`."""

    def told_twice(self, column: str) -> set[object]:
        """What the column has in several rows, where each is to be in one: those are not to be told apart by it."""

    def blank(self, key: object, record: Record, columns: Collection[str]) -> None:
        """Empty these columns of a row that is still as it was read. Raises :class:`NotBlanked`."""
