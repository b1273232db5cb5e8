"""A browser in front of a real server. The cast of ``tests/conftest.py`` lives in that server's database."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Browser, Page, sync_playwright

from app.config import Settings
from app.encryption.keyring import Keyring, MasterKey
from tests.browser.served import Served, serving
from tests.browser.watch import Watch, watching
from tests.conftest import make_settings
from tests.servers.browser import chromium_program

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
]


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_sqlite, tmp_path / "audiapro.db")
    return f"sqlite:///{tmp_path / 'audiapro.db'}"


@pytest.fixture
def keys() -> dict[str, str]:
    return {"ENCRYPTION_KEY": Fernet.generate_key().decode(), "JWT_SECRET_KEY": secrets.token_urlsafe(48)}


@pytest.fixture
def settings(database_url: str, keys: dict[str, str]) -> Settings:
    """Those of the server: what the cast does through ``app``, in the process of the test, the server sees."""
    return make_settings(
        database_url,
        keyring=Keyring(MasterKey.parse(keys["ENCRYPTION_KEY"])),
        jwt_secret_key=keys["JWT_SECRET_KEY"],
    )


@pytest.fixture
def server(database_url: str, keys: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    log = tmp_path / "log"
    with serving(log, DATABASE_URL=database_url, **keys) as server:
        yield server
    print(log.read_text())  # shown where a test failed


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all browser tests of a worker, gone with the last of them: the loop that it runs in is in the way of
    other tests that want one."""
    program = chromium_program()
    with sync_playwright() as playwright:
        # Without the browser's sandbox, as root cannot have it, nor can many a user: it is shown pages of ours alone.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def watch(browser: Browser, server: Served) -> Iterator[Watch]:
    """On the test's own visitor, who was never here before. What it found by the end fails the test."""
    with watching(browser, server.url) as watch:
        yield watch


@pytest.fixture
def page(watch: Watch) -> Page:
    """An empty page that knows the server's address: ``page.goto("/docs")``."""
    return watch.context.new_page()
