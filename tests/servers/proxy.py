"""A TCP proxy that fails the way networks fail."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

from tests.servers.process import LOOPBACK, Closing, free_port

CHUNK = 65_536


class TcpProxy(Closing):
    """Stands between a client and the server at `url`; its own `url` is the same one with the proxy's port.

    tls: what it speaks TLS with to clients.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self.port = free_port()
        self.url = parts._replace(netloc=f"{parts.netloc.removesuffix(str(parts.port))}{self.port}").geturl()
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._marker: bytes | None = None
        self._swallowed = threading.Event()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()
        self.accept()

    def accept(self) -> None:
        """Takes new connections, as it does from the start."""
        self._run(self._accept())

    def refuse(self) -> None:
        """Refuses new connections; those that exist go on."""
        self._run(self._refuse())

    def cut(self) -> None:
        """Resets every connection, on both sides."""
        self._run(self._cut())

    def swallow_replies_after(self, marker: bytes) -> threading.Event:
        """Loses the reply to the next message in which a client sends `marker`, once.

        The server receives that message and answers it, and only then is the client's connection reset: a test that
        sees the connection fail knows that the server is done. Returns an event that is set when that has happened.
        """
        self._swallowed = threading.Event()
        self._marker = marker
        return self._swallowed

    def close(self) -> None:
        """Cuts everything and listens no more."""
        if not self._loop.is_closed():
            self._run(self._finish())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connect, LOOPBACK, self.port, ssl=self._tls)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _cut(self) -> None:
        for writer in self._writers:
            _reset(writer)

    async def _finish(self) -> None:
        await self._refuse()
        await self._cut()
        if connections := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(connections, timeout=20)

    async def _connect(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._writers.add(to_client)
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(to_client)
        else:
            self._writers.add(to_server)
            silence = asyncio.Event()
            await asyncio.gather(
                self._carry_requests(from_client, to_server, silence),
                self._carry_replies(from_server, to_client, silence),
            )
            self._writers.discard(to_server)
        self._writers.discard(to_client)

    async def _carry_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, silence: asyncio.Event
    ) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while data := await client.read(CHUNK):
                if marker := self._marker:
                    seen = seen[-len(marker) :] + data  # the marker may come in two pieces
                    if marker in seen:
                        self._marker = None
                        silence.set()
                server.write(data)
                await server.drain()
        server.close()

    async def _carry_replies(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, silence: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(CHUNK):
                if silence.is_set():
                    _reset(client)
                    self._swallowed.set()
                    return
                client.write(data)
                await client.drain()
        client.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    # A close without time to linger is a reset: nothing that is still on its way is delivered.
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
