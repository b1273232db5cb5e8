"""age, with which docs/backup.md encrypts backups: from the PATH, else from Debian where we may install."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

MISSING = "age is missing: `apt install age` (Debian) or `brew install age` (macOS)."


def provide_age() -> None:
    """Install it where there is none. Raises RuntimeError where it cannot be had."""
    with (Path(tempfile.gettempdir()) / "audiapro-age.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this run may be at it
        if shutil.which("age") is None and os.geteuid() == 0 and shutil.which("apt-get"):
            install = ["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "age"]
            if not _apt_get(install):  # what the machine knows about packages may be nothing, or too old
                _apt_get(["update"])
                _apt_get(install)
    if shutil.which("age") is None:
        raise RuntimeError(MISSING)


def _apt_get(arguments: list[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    return not subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True).returncode
