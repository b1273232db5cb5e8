"""Prometheus' own checker of rules, from wherever this machine can have it."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OURS = Path(sys.prefix) / "bin" / "promtool"
MISSING = "promtool is missing: `apt install prometheus` (Debian) or `brew install prometheus` (macOS)."


def promtool() -> str:
    """The path of the promtool that this machine has; where it has none, the one of Debian's package, which is not
    installed: that would start a server. Raises RuntimeError."""
    if program := shutil.which("promtool"):
        return program
    if OURS.exists() or (shutil.which("apt-get") and shutil.which("dpkg-deb") and _take_from_debian()):
        return str(OURS)
    raise RuntimeError(MISSING)


def _take_from_debian() -> bool:
    """Whether it is there now: among the programs of this virtual environment."""
    with tempfile.TemporaryDirectory() as folder:
        download = ["apt-get", "download", "prometheus"]
        # What the machine knows about packages may be nothing, or too old.
        if not (_run(download, folder) or (_run(["apt-get", "update"], folder) and _run(download, folder))):
            return False
        (package,) = Path(folder).glob("*.deb")
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
        ):
            for member in files:
                if member.name.endswith("usr/bin/promtool") and (content := files.extractfile(member)):
                    _put_in_place(content.read())
                    unpacking.terminate()  # what follows is not wanted
                    return True
    return False


def _put_in_place(program: bytes) -> None:
    """At once, also where two do it at the same time."""
    with tempfile.NamedTemporaryFile(dir=OURS.parent, delete=False) as file:
        file.write(program)
        os.fchmod(file.fileno(), 0o755)
    os.replace(file.name, OURS)


def _run(command: list[str], folder: str) -> bool:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0
