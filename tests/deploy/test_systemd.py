"""The units, by systemd's own check, and the command that stands beside them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import PROJECT
from tests.deploy.conftest import code_blocks

UNITS = PROJECT / "deploy/systemd"
PAGE = "docs/deploy/single-server.md"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no systemd but on Linux")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """With a program that exists."""
    shutil.copytree(UNITS, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(re.sub(r"/srv/audiapro/\.venv/bin/\w+", "/bin/echo", path.read_text()))
    return tmp_path / "units"


@on_linux
def test_systemd_finds_nothing_wrong_and_little_exposed(units: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    assert analyse is not None, "systemd-analyze is missing: apt install systemd"
    names = [str(path) for path in units.iterdir() if path.is_file() and path.suffix]
    verified = subprocess.run([analyse, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    for name in (name for name in names if name.endswith(".service")):
        shown = subprocess.run(
            [analyse, "security", "--offline=true", "--no-pager", name], capture_output=True, text=True, check=False
        )
        exposure = re.search(r"exposure level for [\w.-]+: ([0-9.]+)", shown.stdout + shown.stderr)
        assert exposure, shown.stderr
        assert float(exposure[1]) < 2


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """/etc/audiapro as the commands of the page make it."""
    (commands,) = [block for block in code_blocks(PAGE) if "mkdir -p /etc/audiapro" in block]
    made = commands.replace("/etc/", f"{tmp_path}/").replace(".venv/bin/python generate", f"{sys.executable} generate")
    (tmp_path / "redis").mkdir()
    subprocess.run(["sh", "-eu", "-c", made], cwd=PROJECT, check=True)
    password = re.fullmatch(r"requirepass ([0-9a-f]{48})\n", (tmp_path / "redis/redis.conf").read_text())[1]
    assert (tmp_path / "audiapro/redis_url").read_text() == f"redis://:{password}@127.0.0.1:6379/0\n"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "audiapro").iterdir()} == {0o600}
    return tmp_path / "audiapro"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@on_linux
def test_commands_have_what_the_units_have_and_leave_nothing_behind(etc: Path, home: Path, tmp_path: Path) -> None:
    flask = home / ".venv/bin/flask"
    flask.parent.mkdir(parents=True)
    flask.write_text(
        "#!/bin/sh\n"
        'cat "$ENCRYPTION_KEY_FILE"; echo "$DATABASE_URL" "$TRUSTED_PROXY_HOPS" "$(id -u)" "$OLD_KEY_FILE" "$@"\n'
        'echo "$JWT_SECRET_KEY_FILE" >&2; ls -ld "$(dirname "$JWT_SECRET_KEY_FILE")" >&2; exit 7\n'
    )
    flask.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "AUDIAPRO_ETC": str(etc), "AUDIAPRO_HOME": str(home)}
    environ["OLD_KEY_FILE"] = "/old_key"  # a command's own, as docs/adoption.md has it
    if os.geteuid() == 0:
        environ["AUDIAPRO_USER"], uid = "daemon", "1"
    else:  # nobody but root may hand over: what does that is left out
        stubs = tmp_path / "stubs"
        stubs.mkdir()
        (stubs / "setpriv").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
        (stubs / "chown").write_text("#!/bin/sh\n")
        for path in stubs.iterdir():
            path.chmod(0o755)
        environ["PATH"], uid = f"{stubs}:{environ['PATH']}", str(os.geteuid())
    done = subprocess.run(
        [str(UNITS / "audiapro-flask"), "db", "a b"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    key, rest = done.stdout.splitlines()
    assert key == (etc / "encryption_key").read_text().strip()
    assert rest == f"postgresql:///audiapro?host=/run/postgresql 1 {uid} /old_key db a b"
    named, folder = done.stderr.splitlines()
    assert folder.startswith("drwx------")
    assert not Path(named).parent.exists()
