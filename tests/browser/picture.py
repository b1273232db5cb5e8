"""`make picture`: take the picture of the README anew, of the demonstration's overview."""

import secrets
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet
from playwright.sync_api import Page, sync_playwright

from app.database import now
from app.demonstration import OWNER, create_demonstration
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from tests.browser.conftest import FLAGS
from tests.browser.served import serving
from tests.conftest import in_database, make_settings, migrate, running
from tests.servers.browser import chromium_program, provide_chromium

PICTURE = Path(__file__).parent.parent.parent / "docs" / "images" / "overview.png"


def main() -> None:
    provide_chromium(print)
    with tempfile.TemporaryDirectory() as folder:
        url = migrate(f"sqlite:///{folder}/audiapro.db")
        keys = {"ENCRYPTION_KEY": Fernet.generate_key().decode(), "JWT_SECRET_KEY": secrets.token_urlsafe(48)}
        password = fill(url, keys)
        with serving(Path(folder) / "log", DATABASE_URL=url, **keys) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_program(), chromium_sandbox=False, args=FLAGS)
            page = browser.new_page(base_url=server.url, viewport={"width": 1280, "height": 860}, locale="en-GB")
            take(page, password)
            browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")


def fill(url: str, keys: dict[str, str]) -> str:
    """Make the demonstration; its owner's password."""
    keyring = Keyring(MasterKey.parse(keys["ENCRYPTION_KEY"]))
    with running(make_settings(url, keyring=keyring)) as app, in_database(app):
        app.extensions["encryption"].check_and_register(db.engine)
        return create_demonstration(db.session(), now()).owner_password


def take(page: Page, password: str) -> None:
    page.goto("/sign-in?next=/overview?days=14")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    PICTURE.parent.mkdir(exist_ok=True)
    page.screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
