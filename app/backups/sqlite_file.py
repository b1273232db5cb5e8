"""Reading a SQLite database that somebody has copied away: read-only, and as a file that nobody else has open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from app.backups.reading import Begin, Contents, CutOff, Damaged

MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_JOURNAL_MODES: Final = slice(18, 20)  # in the header
_WITH_LOG: Final = b"\2\2"  # a write-ahead log, which needs a file beside it; not so after VACUUM INTO


def read(file: BinaryIO, path: Path | None, begin: Begin, contents: Contents) -> None:
    """Hand the rows of each table to whom ``begin`` names. Raises :class:`Damaged`.

    path: of the file, or None where there is only a stream, which is then held in memory as a whole.
    """
    try:
        with closing(_in_memory(file, contents) if path is None else _on_disk(path.resolve(), contents)) as connection:
            connection.text_factory = lambda text: text.decode("latin-1")
            if connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise Damaged("The backup is damaged: SQLite finds its pages to be wrong.")
            _read_tables(connection, begin, contents)
    except sqlite3.Error as error:
        raise Damaged(f"The backup is damaged: SQLite cannot read it ({type(error).__name__}).") from None


def _on_disk(path: Path, contents: Contents) -> sqlite3.Connection:
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise Damaged(
            f"Beside it lies {log.name}, with changes that are not in it yet: it is in use, or was copied while it "
            "was. Copy it with VACUUM INTO, as docs/backup.md says."
        )
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    _require_whole(header, path.stat().st_size)
    contents.had_log = header[_JOURNAL_MODES] == _WITH_LOG
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)


def _in_memory(file: BinaryIO, contents: Contents) -> sqlite3.Connection:
    content = bytearray(file.read())
    _require_whole(content, len(content))
    contents.had_log = content[_JOURNAL_MODES] == _WITH_LOG
    content[_JOURNAL_MODES] = b"\1\1"
    connection = sqlite3.connect(":memory:")
    connection.deserialize(bytes(content))
    return connection


def _require_whole(header: bytes | bytearray, size: int) -> None:
    """Compare the size with what the file's header says: https://www.sqlite.org/fileformat2.html"""
    page_size = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    if len(header) < _HEADER_BYTES or size < (65_536 if page_size == 1 else page_size) * pages:
        raise CutOff


def _read_tables(connection: sqlite3.Connection, begin: Begin, contents: Contents) -> None:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for (table,) in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})")]
        contents.created.add(table)
        contents.filled.add(table)
        if (take := begin("", table, columns)) is not None:
            names = ", ".join(map(_quoted, columns))
            for row in connection.execute(f"SELECT {names} FROM {_quoted(table)}"):
                take([_as_text(value) for value in row])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _as_text(value: Any) -> str | None:
    """Numbers as digits; bytes, which no column of ours has, as nothing that could be a value."""
    return value if value is None or isinstance(value, str) else "" if isinstance(value, bytes) else str(value)
