"""A Chromium for browser tests, from wherever this machine can have one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ON_THE_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# Asked in a process of its own: here a browser may be open already, and its loop suffers no other.
WHERE_PLAYWRIGHT_HAS_IT = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)
"""
MISSING = (
    "Chromium is missing: `apt install chromium` (Debian) or `brew install --cask google-chrome` (macOS), or "
    "`.venv/bin/python -m playwright install --with-deps chromium`."
)


def chromium_program() -> str:
    """The path of the Chromium that this machine has, its own or one of Playwright's. Raises RuntimeError."""
    if program := _from_system() or _from_playwright():
        return program
    raise RuntimeError(MISSING)


def provide_chromium(say: Callable[[str], object]) -> None:
    """Install a Chromium where there is none; `say` is told what is done. Nobody else may be at it meanwhile.

    Where it cannot be had, `chromium_program` raises as before: only what needs it fails.
    """
    if _from_system() or _from_playwright():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("Browser tests need Chromium: installing Debian's package, about a minute, once")
        if _install_from_debian():
            return
    say("Browser tests need Chromium: downloading Playwright's, once")
    _run([sys.executable, "-m", "playwright", "install", "chromium"])


def _from_system() -> str | None:
    on_the_path = next(filter(None, map(shutil.which, ON_THE_PATH)), None)
    return on_the_path or next(filter(os.path.exists, ON_A_MAC), None)


def _from_playwright() -> str | None:
    asked = subprocess.run([sys.executable, "-c", WHERE_PLAYWRIGHT_HAS_IT], capture_output=True, text=True, check=True)
    program = asked.stdout.strip()
    return program if Path(program).exists() else None


def _install_from_debian() -> bool:
    """Whether it is there now. A font comes with it: what a page says is part of its screenshot."""
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
    # What the machine knows about packages may be nothing, or too old.
    return _run(install) or (_run(["apt-get", "update"]) and _run(install))


def _run(command: list[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0
