"""While a deployment replaces processes one after another, those of the release before work on the database of the new
one: migrations only ever add what the release before does not miss."""

import io
import json
import os
import re
import secrets
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from app.config import PROJECT
from tests.data import captured_body

# Run by the release before, with its own code: what tenants, their phone systems and operators do.
DAY = """
import json, sys
from app import create_app
from app.extensions import db
from app.tenancy import system_scope

app = create_app()
with app.app_context(), system_scope():
    app.extensions["encryption"].check_and_register(db.engine)
client, did = app.test_client(), {}

def do(method, path, **what):
    answer = client.open(path, method=method, **what)
    did[f"{method} {path.replace(ids.get('id', ' '), 'ID')}"] = answer.status_code
    return answer.json if answer.is_json and answer.data else None

ids = {}
words = ["create-tenant", "--name", "Acme", "--subdomain", "acme", "--admin-email", "a@acme.example"]
did["create-tenant"] = app.test_cli_runner().invoke(args=words, input="correct horse battery staple\\n").exit_code
do("GET", "/readyz")
password = "correct horse battery staple"
token = do("POST", "/api/login", json={"email": "a@acme.example", "password": password})["access_token"]
bearer = {"Authorization": f"Bearer {token}"}
made = do("POST", "/api/phone-systems", json={"name": "PBX", "vendor": "asterisk", "password": "one"}, headers=bearer)
ids = made
here = f"/api/phone-systems/{made['id']}"
changed = do("PATCH", here, json={"name": "HQ", "password": "two", "version": made["version"]}, headers=bearer)
basic = (made["webhook_username"], made["webhook_password"])
record = open(sys.argv[1], "rb").read()
form = {"Content-Type": "application/x-www-form-urlencoded"}
do("POST", made["webhook_path"], data=record, auth=basic, headers=form)
do("GET", "/api/calls", headers=bearer)
do("GET", "/api/audit-events", headers=bearer)
do("GET", "/sign-in")
do("POST", "/api/logout", headers=bearer)
did["seal"] = app.test_cli_runner().invoke(args=["audit", "seal"]).exit_code
did["rotate"] = app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code
did["verify"] = app.test_cli_runner().invoke(args=["encryption", "verify"]).exit_code
print(json.dumps(did))
"""


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=True).stdout


def numbers(names: list[str]) -> list[str]:
    """Of the migrations among these files."""
    return [found[1] for name in names if (found := re.search(r"(?:^|/)(\d{4})_\w+\.py$", name))]


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as it was on the main line just before the newest migration."""
    newest = max(numbers(os.listdir(PROJECT / "migrations/versions")))
    for commit in git("rev-list", "--first-parent", "HEAD").decode().split():
        before = numbers(git("ls-tree", "-r", "--name-only", commit, "migrations/versions").decode().splitlines())
        if newest not in before and len(before) == len(set(before)):
            folder = tmp_path_factory.mktemp("before")
            with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
                archive.extractall(folder, filter="data")
            return folder
    raise RuntimeError("The history of the project is not here: git fetch --unshallow")


def test_it_works_on_the_new_database(release_before, database_url, tmp_path):
    environ = {
        "PATH": os.environ["PATH"],
        "APP_ENV": "development",
        "DATABASE_URL": database_url.replace("postgresql+psycopg://", "postgresql://"),
        "JWT_SECRET_KEY": secrets.token_hex(32),
        "ENCRYPTION_KEY": secrets.token_hex(32),
    }
    record = tmp_path / "record"
    record.write_bytes(captured_body("asterisk/answered.http"))
    done = subprocess.run(
        [sys.executable, "-c", DAY, str(record)], cwd=release_before, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    did = json.loads(done.stdout.splitlines()[-1])
    assert {what: status for what, status in did.items() if status not in (0, 200, 201, 204)} == {}
