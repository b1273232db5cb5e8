"""What Dockerfile and compose.yaml make, as far as it can be seen without Docker."""

import contextlib
import http.server
import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
import requests

from app.config import PROJECT, load_settings
from tests.deploy.conftest import code_blocks
from tests.deploy.image import COMPOSE, SERVICES, copied, stages, values, with_empty_env_file
from tests.servers import Postgres, Redis, free_port
from tests.servers.postgres import postgres_programs
from tests.servers.process import Server, clean_environment


@pytest.fixture(scope="module")
def secret_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the commands of the page, with this Python instead of the image's."""
    folder = tmp_path_factory.mktemp("compose")
    (commands,) = [block for block in code_blocks("docs/deploy/docker.md") if "mkdir" in block]
    image = "docker run --rm --network none audiapro:local python generate_keys.py"
    assert image in commands
    made = commands.replace(image, f"{sys.executable} {PROJECT / 'generate_keys.py'}")
    script = f"umask 022\n{made}\ntouch made_later"
    done = subprocess.run(["sh", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "secrets"


class TestSecretFiles:
    def test_all_are_there_in_a_folder_that_is_closed_to_others(self, secret_files):
        assert {path.name for path in secret_files.iterdir()} == COMPOSE["secrets"].keys()
        assert stat.S_IMODE(secret_files.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in secret_files.iterdir()} == {0o444}

    def test_what_is_made_after_them_in_the_same_shell_is_not_closed(self, secret_files):
        assert stat.S_IMODE((secret_files.parent / "made_later").stat().st_mode) == 0o644

    def test_git_and_images_know_nothing_of_them(self):
        ignored = subprocess.run(["git", "check-ignore", "-q", "secrets/encryption_key"], cwd=PROJECT, check=False)
        assert ignored.returncode == 0

    def test_the_service_takes_them(self, secret_files):
        given = {
            name: value.replace("/run/secrets", str(secret_files)) for name, value in with_empty_env_file().items()
        }
        settings = load_settings(given, None)
        assert settings.metrics_token is None
        assert settings.resend_api_key is None
        assert settings.keyring.fallbacks == ()
        assert settings.database_url.endswith("@/audiapro?host=%2Frun%2Fpostgresql")  # no sslmode: it is this machine

    def test_redis_asks_for_the_password(self, secret_files):
        with ComposeRedis(secret_files / "redis_conf") as server:
            url = (secret_files / "redis_url").read_text().replace("@redis:6379/", f"@127.0.0.1:{server.port}/")
            with redis.Redis.from_url(url) as client:
                client.set("counted", 1)
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
                assert client.config_get("save") == {"save": ""}
            with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()


class ComposeRedis(Redis):
    """Started with the arguments of compose.yaml."""

    def __init__(self, configuration: Path) -> None:
        self._given = configuration
        super().__init__()

    def start(self) -> None:
        arguments = [str(self._given), *SERVICES["redis"]["command"][2:]]
        here = ["--bind", "127.0.0.1", "--port", str(self.port)]
        self._launch(["redis-server", *arguments, *here], executable=self._program)


def in_the_container(secret_files: Path, **replaced: str) -> dict[str, str]:
    """The environment of compose.yaml and the image, with files in place of those that Docker mounts."""
    given = with_empty_env_file()
    image = dict(pair.split("=", 1) for pair in values(stages()[1], "ENV")[0].split() if not pair.startswith("PATH="))
    mounted = {name: value.replace("/run/secrets", str(secret_files)) for name, value in (image | given).items()}
    return {"PATH": os.environ["PATH"]} | mounted | replaced


class Container(Server):
    """The files of the image, that the user of the service cannot write to, and its database by a socket."""

    def __init__(self, secret_files: Path) -> None:
        super().__init__("container", last_signal=signal.SIGTERM)
        self.folder.chmod(0o755)
        self.image, self.secrets, self.socket = (self.folder / name for name in ("image", "secrets", "s"))
        for path in copied(stages()[0]):
            if not path.startswith("requirements"):
                self._take(PROJECT / path)
        self.files = set(self.image.rglob("*"))
        # Of a checkout that was made after `umask 077`, and then as the image is built.
        for path in self.files:
            path.chmod(0o700 if path.is_dir() else 0o600)
        (opened,) = [rest for rest in values(stages()[0], "RUN") if rest.startswith("chmod ")]
        subprocess.run(["sh", "-c", opened], cwd=self.image, check=True)
        for path in [self.image, *self.files]:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o555)
        shutil.copytree(secret_files, self.secrets)
        self.secrets.chmod(0o755)
        self.socket.mkdir()
        # As root the user of the image, who here may read what is private on the way to Python, and write nothing; else
        # whoever runs the tests, who can no more write to these files.
        self._as_user = [
            *("setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"),
            *("--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search"),
            "--ambient-caps=-all,+dac_read_search",
        ]
        if os.geteuid() != 0:
            self._as_user = []

    def close(self) -> None:
        for path in (self.image, *self.image.rglob("*")):  # whose owner, too, could remove nothing from them
            if path.is_dir():
                path.chmod(0o755)
        super().close()

    def _take(self, source: Path) -> None:
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, self.image / source.relative_to(PROJECT), ignore=leave_out)
        else:
            self.image.mkdir(exist_ok=True)
            shutil.copy(source, self.image / source.name)

    def run(self, command: list[str], environ: dict[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._as_user, sys.executable, *command],
            cwd=self.image, env=environ, input=typed, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip

    def start_with(self, command: list[str], environ: dict[str, str]) -> None:
        self._answers_on = int(environ["PORT"])
        self._launch([*self._as_user, sys.executable, *command], env=environ, cwd=self.image)

    def stop_gracefully(self) -> None:
        self._end(signal.SIGTERM)

    def log(self) -> str:
        return self._log.read_text()

    def _is_ready(self, pid: int) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{self._answers_on}/healthz", timeout=5)
            return True
        return False


@pytest.fixture(scope="module")
def container(secret_files: Path) -> Iterator[Container]:
    with Container(secret_files) as made:
        yield made


@pytest.fixture(scope="module")
def database(container: Container) -> Iterator[str]:
    """The URL of the database that the script of compose.yaml makes, in a cluster as PostgreSQL's image has it."""
    container.socket.chmod(0o777)
    with Postgres({"unix_socket_directories": str(container.socket)}) as cluster:
        environ = clean_environment() | {
            "PATH": f"{postgres_programs()}:{os.environ['PATH']}",
            "PGDATA": str(cluster.data),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGPASSWORD": cluster.password,
            "SECRETS": str(container.secrets),
        }
        script = PROJECT / "deploy/compose/create-database.sh"
        made = subprocess.run(["sh", str(script)], env=environ, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        shutil.chown(cluster.data / "pg_hba.conf", cluster.data.owner())
        cluster.restart()
        url = (container.secrets / "database_url").read_text().strip()
        yield url.replace("host=/run/postgresql", f"host={container.socket}") + f"&port={cluster.port}"


def test_the_database_lets_the_service_in_by_its_password_alone(database):
    with psycopg.connect(database) as connection:
        login = connection.execute("SELECT rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user")
        assert login.fetchone() == ("audiapro", False, True)
    wrong = re.sub(r":[0-9a-f]{48}@", ":wrong@", database)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
        psycopg.connect(re.sub(r"//audiapro:[0-9a-f]{48}@/audiapro", "//postgres:wrong@/postgres", database))


def test_the_user_of_the_image_can_read_all_of_it_whatever_the_umask_of_the_checkout_was(container):
    modes = {path: path.stat().st_mode for path in container.files}
    assert [path for path, mode in modes.items() if not mode & stat.S_IROTH] == []
    assert [path for path, mode in modes.items() if path.is_dir() and not mode & stat.S_IXOTH] == []


def test_the_service_runs_without_writing_to_its_files(container, database, redis_url):
    port = free_port()
    environ = in_the_container(container.secrets, PORT=str(port)) | {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "WEB_CONCURRENCY": "2",
    }
    del environ["DATABASE_URL_FILE"], environ["REDIS_URL_FILE"]
    migrated = container.run(["-m", "flask", "db", "upgrade"], environ)
    assert migrated.returncode == 0, migrated.stderr
    command = json.loads(values(stages()[1], "CMD")[0])
    container.start_with(["-m", *command], environ)
    ready = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
    assert (ready.status_code, ready.json()["checks"]["tenant_isolation"]) == (200, "ok")
    said = container.log()
    assert f"database ready: PostgreSQL on {container.socket}, audiapro" in said
    warnings = [line for line in said.splitlines() if "warning" in line and "chmod" not in line]
    assert warnings == ["warning: no mail can be sent, and what needs it is refused: set RESEND_API_KEY"]
    words = ["--name", "Acme", "--subdomain", "acme", "--admin-email", "a@acme.example"]
    typed = "correct horse battery staple\n"
    created = container.run(["-m", "flask", "create-tenant", *words], environ, typed)
    assert created.returncode == 0, created.stderr
    filled_in = {
        "PUBLIC_URL": "https://audiapro.example",
        "RESEND_API_KEY": "re_" + secrets.token_hex(16),
        "RESEND_FROM_EMAIL": "no-reply@mail.example",
    }
    del environ["RESEND_API_KEY_FILE"]
    examined = container.run(["-m", "flask", "doctor", "--json"], environ | filled_in)
    findings = json.loads(examined.stdout)["findings"]
    # Docker mounts the files read-only, where nobody asks for their modes. The owner is yet to sign in for once.
    of_the_machine = [finding for finding in findings if finding["subject"] != "second factors"]
    assert [it for it in of_the_machine if it["state"] != "ok" and "chmod 600" not in it["text"]] == []
    cannot = container.run(["-c", "open('new', 'w')"], environ)
    assert "PermissionError" in cannot.stderr
    healthy = container.run(["healthcheck.py"], environ)
    assert (healthy.returncode, healthy.stderr) == (0, "")
    container.stop_gracefully()
    assert container.run(["healthcheck.py"], environ).returncode == 1
    assert set(container.image.rglob("*")) == container.files


def test_a_server_that_is_not_well_is_told_by_the_health_check():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request).start()  # 501: it knows no GET
        done = subprocess.run(
            [sys.executable, str(PROJECT / "deploy/docker/healthcheck.py")],
            env={"PORT": str(server.server_port)},
            check=False,
        )
    assert done.returncode == 1
