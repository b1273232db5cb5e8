"""A connection of which only so much is read."""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING, Final

from app.outbound.failures import TooLarge

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Besides twice the body: its headers, and what chunks are wrapped in.
_AROUND: Final = 1_000_000


class Metered:
    """What :mod:`http.client` is given for a socket. Whoever gives it closes the socket.

    kilobytes: how large the body of an answer may be.
    """

    def __init__(self, connection: socket.socket, kilobytes: int) -> None:
        self.sendall = connection.sendall
        self._received = _Received(connection, kilobytes)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._received)

    def close(self) -> None:
        """Called as soon as it is known that no other answer follows, while this one is still to be read."""


class _Received(io.RawIOBase):
    """The bytes that come, counted whatever they are taken for: the library skips any number of lines, and reads to the
    end where a chunk says that it has less than nothing."""

    def __init__(self, connection: socket.socket, kilobytes: int) -> None:
        super().__init__()
        self._connection, self._kilobytes = connection, kilobytes
        self._left = 2 * kilobytes * 1000 + _AROUND

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._connection.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise TooLarge(self._kilobytes)
        return count
