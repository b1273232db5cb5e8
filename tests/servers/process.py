"""A server process that does not outlive the one that started it."""

import atexit
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOOPBACK = "127.0.0.1"

# Waits for a line from the process that started the server, or for its death; then ends the server and its folder.
WATCHMAN = """
read -r line
if pid=$(cat "$0/server.pid") && kill -"$1" "$pid"; then
    for _ in $(seq 100); do kill -0 "$pid" || break; sleep 0.1; done
fi
for _ in $(seq 100); do rm -rf "$0" && break; sleep 0.1; done
"""


def free_port() -> int:
    """A loopback port that nobody uses, below those of outgoing connections: free still after a server's restart."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port


class Closing:
    """A context manager that closes what it stands for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Server(Closing):
    """A process with a folder of its own. `stop` keeps the folder for the next `start`, `close` removes it."""

    def __init__(self, name: str, last_signal: signal.Signals) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self.folder = Path(tempfile.mkdtemp(prefix=f"audiapro-{name}-", dir=_temporary_directory()))
        self._log = self.folder / "log"
        self._pid_file = self.folder / "server.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._last_signal = last_signal
        self._owner = os.getpid()
        self._watchman = subprocess.Popen(
            ["/bin/sh", "-c", WATCHMAN, str(self.folder), last_signal.name.removeprefix("SIG")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the server, whatever its clients do, and removes its folder."""
        atexit.unregister(self.close)
        if self._owner != os.getpid():
            return  # a forked child leaves it to its parent
        self._end(self._last_signal)
        if self._watchman.poll() is None:
            self._watchman.communicate(b"\n")

    def _launch(self, command: list[str], **how: Any) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            # A session of its own, so that Ctrl-C in the terminal reaches the tests and not the server.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **{"cwd": self.folder, "env": clean_environment()} | how,
            )
        self._pid_file.write_text(str(self._process.pid))
        deadline = time.monotonic() + 60
        while not self._is_ready(self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end(self._last_signal)
                raise RuntimeError(f"{command[0]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.01)

    def _is_ready(self, pid: int) -> bool:
        raise NotImplementedError

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None
            self._pid_file.unlink()


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a PostgreSQL program to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def is_open_to_all(folder: Path) -> bool:
    """Whether every user of the machine may enter a folder, and all the folders that lead to it."""
    folder = folder.resolve()
    return all(path.stat().st_mode & 0o001 for path in [folder, *folder.parents])


def _temporary_directory() -> Path:
    """The temporary directory; as root one that every user may enter, as the user that runs PostgreSQL then must."""
    folder = Path(tempfile.gettempdir())
    return folder if os.geteuid() != 0 or is_open_to_all(folder) else Path("/tmp")
