"""Reading the SQL text that ``pg_dump`` and ``pg_restore`` write, as a stream: rows of COPY and of INSERT.

This is no parser of SQL: it knows the few forms in which those two write tables and rows, one statement or row a line.
Bytes are read as Latin-1. What is of interest here is ASCII, and whatever else there is stays apart from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO, Final

from app.backups.reading import Begin, Contents, CutOff, Damaged, Take

MAXIMUM_LINE: Final = 32 * 1024 * 1024  # bytes; a request has at most one MiB, and a row a few secrets
_TOO_LONG: Final = "The backup has a line of more than 32 MiB, which no dump of AudiaPro has: it is damaged."

_NAME: Final = r'(?:"(?:[^"]|"")+"|[^\s.,()";]+)'
_TABLE: Final = rf"(?:(?P<schema>{_NAME})\.)?(?P<table>{_NAME})"
_COLUMNS: Final = rf"(?: \((?P<columns>{_NAME}(?:, {_NAME})*)\))?"
_CREATE: Final = re.compile(rf"CREATE (?:UNLOGGED )?TABLE {_TABLE} \(")
_COLUMN: Final = re.compile(rf"    (?!CONSTRAINT )({_NAME}) ")
_COPY: Final = re.compile(rf"COPY {_TABLE}{_COLUMNS} FROM stdin;")
_INSERT: Final = re.compile(rf"INSERT INTO {_TABLE}{_COLUMNS}(?: OVERRIDING (?:SYSTEM|USER) VALUE)? VALUES")
_DATA: Final = re.compile(r"-- Data for Name: (.+); Type: TABLE DATA; Schema: .*")
_END: Final = "-- PostgreSQL database dump complete"
_END_OF_COPY: Final = b"\\."
_NULL: Final = "\\N"

# Quotes in a literal are doubled, whichever kind of literal it is: so a text is whole when their number is even.
_VALUE: Final = re.compile(r"\s*+(?:[eE]?'((?:[^']++|'')*+)'|([^\s'(),;]++))\s*+([,)])")
_NEXT_ROW: Final = re.compile(r"\s*+(?:ON CONFLICT DO NOTHING)?([,;]?)\s*+")
_NO_INSERT: Final = "The backup has an INSERT that is none of pg_dump's: it is damaged."


def read(file: BinaryIO, begin: Begin, contents: Contents) -> None:
    """Hand the rows of each table to whom ``begin`` names. Raises :class:`Damaged` if the dump is not all there."""
    _Dump(file, begin, contents).read()


class _Dump:
    def __init__(self, file: BinaryIO, begin: Begin, contents: Contents) -> None:
        self._file, self._begin, self._contents = file, begin, contents
        self._columns: dict[tuple[str, str], list[str]] = {}  # by schema and table, as they were created
        self._inserts: dict[str, tuple[int, Take | None]] = {}  # by the beginning of the statement

    def read(self) -> None:
        is_complete = False
        while (raw := self._line()) is not None:
            line = raw.decode("latin-1")
            if line.startswith("COPY ") and (match := _COPY.fullmatch(line)):
                self._read_copy(match)
            elif line.startswith("INSERT ") and (match := _INSERT.match(line)):
                self._read_insert(match, line)
            elif line.startswith("CREATE ") and (match := _CREATE.fullmatch(line)):
                self._read_table(match)
            elif match := _DATA.fullmatch(line):
                self._contents.filled.add(match[1])
            elif line == "SET row_security = on;":
                self._contents.hides_rows = True
            elif line == _END:
                is_complete = True
        if not is_complete:
            raise CutOff

    def _line(self) -> bytes | None:
        """The next line without its end, whichever that is; None at the end of the file."""
        line = self._file.readline(MAXIMUM_LINE)
        if len(line) == MAXIMUM_LINE:
            raise Damaged(_TOO_LONG)
        if line and not line.endswith(b"\n"):
            raise CutOff
        return line.rstrip(b"\r\n") if line else None

    def _read_table(self, match: re.Match[str]) -> None:
        schema, table = _names(match)
        columns = self._columns[schema, table] = []
        while (line := self._line()) is not None and not line.startswith(b")"):
            if column := _COLUMN.match(line.decode("latin-1")):
                columns.append(_unquoted(column[1]))
        self._contents.created.add(table)

    def _read_copy(self, match: re.Match[str]) -> None:
        take, width = self._begin_rows(match)
        while (line := self._line()) != _END_OF_COPY:
            if line is None:
                raise CutOff
            if take is None:
                continue
            # Nothing is unescaped: neither an id nor a sealed value has anything to escape.
            values = [None if value == _NULL else value for value in line.decode("latin-1").split("\t")]
            if len(values) == width:
                take(values)
            else:
                self._contents.misshapen += 1

    def _read_insert(self, match: re.Match[str], line: str) -> None:
        """One statement, of one row or of several, with its literals over as many lines as they take."""
        statement = match[0]
        if statement not in self._inserts:
            take, width = self._begin_rows(match)
            self._inserts[statement] = width, take
        width, take = self._inserts[statement]
        text = self._until_whole(line[match.end() :])
        while True:
            position = 0
            while gap := _NEXT_ROW.match(text, position):
                if gap[1] == ";":
                    return
                if not text.startswith("(", gap.end()):
                    break
                row, position = _row(text, gap.end() + 1)
                if take is not None and len(row) == width:
                    take(row)
                elif take is not None:
                    self._contents.misshapen += 1
            if gap is None or gap.end() != len(text):
                raise Damaged(_NO_INSERT)
            text = self._until_whole("")

    def _until_whole(self, text: str) -> str:
        """The text, with as many of the next lines as it takes to have no literal open, and something in it."""
        parts, quotes = [text], text.count("'")
        size = len(text)
        while quotes % 2 or not any(parts):
            if (line := self._line()) is None:
                raise CutOff
            if size > MAXIMUM_LINE:
                raise Damaged(_TOO_LONG)
            parts.append(line.decode("latin-1"))
            quotes += parts[-1].count("'")
            size += len(line)
        return "\n".join(parts)

    def _begin_rows(self, match: re.Match[str]) -> tuple[Take | None, int]:
        """What takes the rows of the statement, and how many values each has."""
        schema, table = _names(match)
        listed = match["columns"]
        columns: Sequence[str] | None = (
            [_unquoted(name) for name in re.findall(_NAME, listed)] if listed else self._columns.get((schema, table))
        )
        if columns is None:
            raise Damaged(
                "The backup has rows without the names of their columns, and no definition of the table: dump the "
                "schema, too, or with --column-inserts."
            )
        self._contents.filled.add(table)
        return self._begin(schema, table, columns), len(columns)


def _row(text: str, position: int) -> tuple[list[str | None], int]:
    """The values of a row, of which the parenthesis was just opened; and where it has ended."""
    values: list[str | None] = []
    while match := _VALUE.match(text, position):
        literal, word, end = match.groups()
        if literal is not None:
            values.append(literal)
        else:
            values.append(None if word in ("NULL", "DEFAULT") else word)
        position = match.end()
        if end == ")":
            return values, position
    raise Damaged(_NO_INSERT)


def _names(match: re.Match[str]) -> tuple[str, str]:
    return _unquoted(match["schema"] or ""), _unquoted(match["table"])


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
