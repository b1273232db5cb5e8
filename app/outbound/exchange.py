"""One connection with one request and its answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from email.message import Message
from ipaddress import ip_address
from threading import Lock
from typing import Final, NamedTuple

from app.outbound.addresses import Address, Network, may_be_reached
from app.outbound.certificates import not_trusted
from app.outbound.failures import (
    NameUnknown,
    NobodyAnswers,
    NotPublic,
    NotUnderstood,
    Redirected,
    TookTooLong,
    TooLarge,
)
from app.outbound.metered import Metered
from app.outbound.urls import Target

MOST_ATTEMPTS: Final = 3  # at addresses of one name
_PIECE: Final = 16_384  # bytes that are read, or decompressed, at a time
_BROKEN_OFF: Final = "ends the connection before its answer is complete"


class Limits(NamedTuple):
    """In seconds: until one address accepts a connection and TLS is agreed upon, between two pieces of the answer, and
    for everything together, looking up the name included. kilobytes: of the answer's body, once decompressed."""

    connect: float = 5
    read: float = 10
    total: float = 20
    kilobytes: int = 1000


USUAL: Final = Limits()


@dataclass(frozen=True, repr=False)
class Request:
    """Its headers may hold a password, so nothing prints it."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None


class Exchange:
    """Runs once, in one thread; another one may make it give up."""

    def __init__(
        self, request: Request, context: ssl.SSLContext | None, allowed: Sequence[Network], limits: Limits
    ) -> None:
        self._request, self._context, self._allowed, self._limits = request, context, allowed, limits
        self._lock = Lock()
        self._given_up = False
        self._handle: socket.socket | None = None  # a second one of the connection, which TLS does not know of

    def run(self) -> tuple[int, Message, bytes]:
        """Status, headers and body of the answer. Raises a kind of :class:`OutboundFailure`."""
        try:
            with closing(self._connect(self._addresses())) as connection:
                return self._ask(connection)
        except ssl.SSLCertVerificationError as error:
            raise not_trusted(error) from None
        except ssl.SSLError:
            raise NotUnderstood("does not speak TLS, or none that is safe (1.2 or newer)") from None
        except TimeoutError:
            raise TookTooLong(self._limits.read) from None
        except (http.client.RemoteDisconnected, http.client.IncompleteRead):  # kinds of the next, too
            raise NotUnderstood(_BROKEN_OFF) from None
        except http.client.HTTPException:
            raise NotUnderstood("does not answer as HTTP") from None
        except OSError:
            raise NotUnderstood(_BROKEN_OFF) from None
        finally:
            self._let_go()

    def give_up(self) -> None:
        """Nothing is sent any more, and the connection ends, wherever it is."""
        with self._lock:
            self._given_up = True
            if self._handle is not None:
                with suppress(OSError):  # the other side was first
                    self._handle.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def _addresses(self) -> list[Address]:
        """All that the name stands for, each of which may be reached: of a name that also stands for something inside,
        the rest is not trusted either. The name is not looked up again."""
        target = self._request.target
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a label is too long
            raise NameUnknown from None
        addresses = [ip_address(where[0]) for *_, where in found]
        if not all(may_be_reached(address, self._allowed) for address in addresses):
            raise NotPublic
        return list(dict.fromkeys(addresses))

    def _connect(self, addresses: Sequence[Address]) -> socket.socket:
        for address in addresses[:MOST_ATTEMPTS]:
            try:
                connection = socket.create_connection(
                    (str(address), self._request.target.port), timeout=self._limits.connect
                )
            except OSError:
                continue
            return self._secured(connection)
        raise NobodyAnswers

    def _secured(self, connection: socket.socket) -> socket.socket:
        try:
            with self._lock:
                if self._given_up:
                    raise TimeoutError
                self._handle = connection.dup()
            if self._context is not None:
                name = self._request.target.host.rstrip(".")  # as it is in certificates
                connection = self._context.wrap_socket(connection, server_hostname=name)
        except TimeoutError:
            connection.close()
            raise TookTooLong(self._limits.connect) from None
        except BaseException:
            connection.close()
            raise
        connection.settimeout(self._limits.read)
        return connection

    def _ask(self, connection: socket.socket) -> tuple[int, Message, bytes]:
        request = self._request
        spoken = http.client.HTTPConnection(request.target.host, request.target.port)
        spoken.auto_open = 0  # it would look up the name
        spoken.sock = Metered(connection, self._limits.kilobytes)
        spoken.request(request.method, request.target.path, request.body, request.headers)
        with spoken.getresponse() as response:
            if 300 <= response.status < 400:
                raise Redirected
            return response.status, response.headers, self._body(response)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        most = self._limits.kilobytes * 1000
        if (response.length or 0) > most:
            raise TooLarge(self._limits.kilobytes)
        body = bytearray()
        for piece in _pieces(response):
            body += piece
            if len(body) > most:
                raise TooLarge(self._limits.kilobytes)
        return bytes(body)


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body, decompressed, a small piece at a time."""
    decoder = _decoder(response.headers["Content-Encoding"])
    is_empty = True
    while piece := response.read(_PIECE):
        is_empty = False
        while decoder is not None and piece:
            yield _decompressed(decoder, piece)
            piece = decoder.unconsumed_tail
        yield piece
    if response.length or not (decoder is None or decoder.eof or is_empty):
        raise NotUnderstood(_BROKEN_OFF)


def _decoder(encoding: str | None) -> zlib._Decompress | None:
    """What opens an answer that is compressed, although nobody asked for that."""
    if encoding is None or encoding.strip().lower() in ("", "identity"):
        return None
    if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=47)  # either, whichever it turns out to be
    raise NotUnderstood("answers in an encoding that was not asked for")


def _decompressed(decoder: zlib._Decompress, piece: bytes) -> bytes:
    try:
        return decoder.decompress(piece, _PIECE)
    except zlib.error:
        raise NotUnderstood("answers something compressed that cannot be opened") from None
