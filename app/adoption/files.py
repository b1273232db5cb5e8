"""Credential files of another application: one a user, each sealed with a key made of that user's id."""

from __future__ import annotations

import glob
import json
import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from app.adoption.mapping import Section
from app.adoption.sources import NotBlanked, Record
from app.encryption.adoption import CredentialFile, NotAdoptable

LARGEST_FILE_BYTES: Final = 1024 * 1024


class FileSource:
    """The files of one section. A file is a row: its columns are ``user_id``, ``created_at``, ``data`` (all that was
    sealed), and, where that is a JSON object, each of its members.

    secret: what the application makes the keys of. folder: what a relative path begins at.
    """

    def __init__(self, section: Section, secret: str, folder: Path) -> None:
        assert section.files is not None
        self.place = section.files
        self._section, self._secret = section, secret
        pattern = folder / section.files
        self._folder, self._pattern = pattern.parent, pattern.name

    def problems(self) -> list[str]:
        if glob.has_magic(str(self._folder)):
            return [f"files = {self.place} has a * in the name of a folder: only the last part may have one."]
        if not self._names():
            return [f"There are no files {self.place}."]
        return []

    def count(self) -> int:
        return len(self._names())

    def each_key(self) -> Iterator[object]:
        yield from self._names()

    def read(self, key: object) -> Record | None:
        content = self._content(key)
        if content is None:
            return None
        file = CredentialFile.parse(content)
        wanted = dict.fromkeys(self._section.columns())
        outer: Record = {"user_id": file.user_id, "created_at": file.created_at, "data": None}
        if not file.encrypted_data:
            return wanted | outer
        data = file.open(self._secret)
        members = _members(data)
        outer["data"] = data
        for column in wanted:
            if column not in members and column not in outer:
                raise NotAdoptable(f"has no {column} in what is sealed")
        return members | outer

    def told_twice(self, column: str) -> set[object]:
        return set()  # a user may have several, and a tenant several users

    def blank(self, key: object, record: Record, columns: Collection[str]) -> None:
        """The file stays, without what was sealed."""
        try:
            content = self._content(key)
            if content is None or CredentialFile.parse(content).open(self._secret) != record["data"]:
                raise NotAdoptable("")
        except NotAdoptable:
            raise NotBlanked("was changed or removed in this very moment: run the command again") from None
        emptied = json.loads(content) | {"encrypted_data": ""}
        path = self._folder / str(key)
        try:
            _replace(path, json.dumps(emptied, indent=2).encode())
        except OSError as error:
            raise NotBlanked(f"cannot be written ({error.strerror})") from None

    def _names(self) -> list[str]:
        return sorted(glob.glob(self._pattern, root_dir=self._folder))

    def _content(self, key: object) -> bytes | None:
        """None if the file is gone. Raises NotAdoptable."""
        try:
            handle = os.open(self._folder / str(key), os.O_RDONLY | os.O_NONBLOCK)
            try:
                found = os.fstat(handle)
                if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE_BYTES:
                    raise NotAdoptable("is no file, or is larger than 1 MiB")
                with open(handle, "rb", closefd=False) as file:
                    return file.read()
            finally:
                os.close(handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotAdoptable(f"cannot be read ({error.strerror})") from None


def _members(data: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: Path, content: bytes) -> None:
    """At once and as a whole, with the owner and the mode that it had. Raises OSError."""
    target = path.resolve()
    was = target.stat()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "wb") as file:
            os.fchmod(handle, stat.S_IMODE(was.st_mode))
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, was.st_uid, was.st_gid)
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
