"""What a backup may be, told by its first bytes and not by its name, and how it is read: never written anywhere."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from app.backups import dump, sqlite_file
from app.backups.reading import Begin, Contents, CutOff, Damaged

CHUNK: Final = 1024 * 1024
_HEAD: Final = 512

_GZIP: Final = b"\x1f\x8b"
_ARCHIVE: Final = b"PGDMP"
_SQL: Final = b"-- PostgreSQL database dump"
_AGE: Final = (b"age-encryption.org/", b"-----BEGIN AGE")
_OPENPGP: Final = (b"-----BEGIN PGP", b"\x84", b"\x85", b"\x8c", b"\xc1", b"\xc3")  # RFC 9580, section 4.2
_COMPRESSED: Final = (b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18", b"PK\3\4")  # zstd … lz4, zip
_NOT_A_BACKUP: Final = "This is neither a dump of PostgreSQL nor an SQLite database."
# For pg_restore: neither our keys nor a server to connect to.
_ENVIRONMENT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def read(file: IO[bytes], path: Path | None, begin: Begin, contents: Contents, on_read: Callable[[int], None]) -> None:
    """Read a backup to its end, hand the rows of its tables to whom ``begin`` names, and fill in ``contents``.

    file: where it comes from; it need not be a file on disk. path: where that is one. on_read: told of bytes as they
    are read. Raises :class:`~reading.Damaged`, after what could be read was handed on.
    """
    stream = _buffered(file, on_read)
    try:
        if _head(stream).startswith(_GZIP):
            stream, path = _buffered(cast("IO[bytes]", gzip.GzipFile(fileobj=stream))), None
        _read(stream, path, begin, contents)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Damaged("The backup ends before its end, or is damaged: gzip cannot unpack it.") from None


def _read(stream: io.BufferedReader, path: Path | None, begin: Begin, contents: Contents) -> None:
    head = _head(stream)
    if head.startswith(_ARCHIVE):
        contents.kind = "PostgreSQL dump, custom format"
        _read_archive(stream, begin, contents)
    elif head.startswith(sqlite_file.MAGIC):
        contents.kind = "SQLite database"
        sqlite_file.read(stream, path, begin, contents)
    elif _SQL in head and not head.startswith(_COMPRESSED):  # lz4 and zip may leave the first lines as they are
        contents.kind = "PostgreSQL dump, SQL"
        dump.read(stream, begin, contents)
    else:
        raise Damaged(_what_else(head))


def _what_else(head: bytes) -> str:
    if not head:
        return "The backup is empty."
    if b"-- PostgreSQL database cluster dump" in head:
        return "This is a dump of a whole cluster: dump the one database with pg_dump."
    if head.startswith(_AGE + _OPENPGP):
        return (
            "This seems to be encrypted: decrypt it on the way, as in "
            "`age --decrypt --identity backup-key.txt FILE | flask backup check -`."
        )
    if head.startswith(b"toc.dat\0"):  # which pg_restore waits for ever to end, if it is cut off
        return (
            "This is pg_dump's tar format: use the custom format, or unpack it on the way, as in "
            "`pg_restore --file=- FILE | flask backup check -`."
        )
    if head.startswith(_COMPRESSED):
        return "This is compressed: unpack it on the way, as in `zstd -dc FILE | flask backup check -`."
    return _NOT_A_BACKUP


def _read_archive(archive: BinaryIO, begin: Begin, contents: Contents) -> None:
    """By way of the SQL text of it, which pg_restore writes while it is read."""
    program = shutil.which("pg_restore")
    if program is None:
        raise Damaged(
            "To read this archive takes pg_restore, which is not on the PATH: install postgresql-client, of the "
            "server's version or a newer one."
        )
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"LC_ALL": "C"}
    failed: list[Exception] = []
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603
            [program, "--file=-"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        text, feed = cast("BinaryIO", process.stdout), cast("BinaryIO", process.stdin)
        feeder = threading.Thread(target=_feed, args=(archive, feed, failed), daemon=True)
        feeder.start()
        try:
            try:
                dump.read(text, begin, contents)
            except CutOff:  # it has nothing more to say on this side: perhaps on the other
                if not process.wait():
                    raise
            if process.wait():
                complaints.seek(0)
                raise failed[0] if failed else Damaged(_complaint(complaints.read(300)))
            feeder.join()
            if failed:
                raise failed[0]
        finally:
            process.kill()
            process.wait()
            text.close()


def _complaint(said: bytes) -> str:
    line = said.partition(b"\n")[0].removeprefix(b"pg_restore: ").removeprefix(b"error: ")
    reason = re.sub(r"[^ -~]", "?", line.decode("latin-1"))
    return f"pg_restore cannot read it to its end ({reason}): it is cut off, damaged, or of a newer pg_dump."


def _feed(archive: BinaryIO, process: BinaryIO, failed: list[Exception]) -> None:
    """Give the archive to the process. What goes wrong with reading it is added to ``failed``."""
    with suppress(BrokenPipeError):  # it reads no more than it wants
        try:
            shutil.copyfileobj(archive, process, CHUNK)
        except BrokenPipeError:
            raise
        except Exception as error:
            failed.append(error)
        finally:
            process.close()


def _head(stream: io.BufferedReader) -> bytes:
    return stream.peek(_HEAD)[:_HEAD]


def _buffered(file: IO[bytes], on_read: Callable[[int], None] | None = None) -> io.BufferedReader:
    return io.BufferedReader(_Counted(file, on_read), CHUNK)


class _Counted(io.RawIOBase):
    """A stream that tells how much of it was read, and does not give out its first bytes one by one, as a pipe may."""

    def __init__(self, file: Any, on_read: Callable[[int], None] | None) -> None:
        self._file, self._on_read = file, on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < min(_HEAD, len(view)):
            count = self._file.readinto(view[filled:])
            if not count:
                break
            filled += count
        if self._on_read is not None:
            self._on_read(filled)
        return filled
