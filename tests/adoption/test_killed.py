"""Killed at any moment and started again: nothing twice, nothing lost."""

import json
import os
import secrets
import subprocess
import sys
import time

import psycopg
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from app.config import load_settings
from app.credentials.models import ApiCredential
from app.extensions import db
from tests.adoption.conftest import OLD_KEY, ROOT, token
from tests.adoption.test_tables import secrets_here
from tests.conftest import in_database, running

ROWS, HELD = 60, 25
MAPPING = """
source = "old"
database = "OLD_URL"
[api_credentials.maps]
table = "accounts"
tenant = "acme"
name = "Maps {id}"
provider = "acme"
secret = { column = "secret", encoding = "fernet", key = "OLD_ENCRYPTION_KEY" }
"""


@pytest.fixture
def environment(database_url):
    return {
        "APP_ENV": "development",
        "JWT_SECRET_KEY": secrets.token_hex(32),
        "ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "DATABASE_URL": database_url,
        "OLD_ENCRYPTION_KEY": OLD_KEY.decode(),
    }


def start(environment, *command, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )


def how_many(app):
    with in_database(app):
        return db.session.scalar(select(func.count()).select_from(ApiCredential))


def test_killed_and_started_again_nothing_is_twice_and_nothing_lost(environment, make_old, tmp_path):
    old = make_old("postgresql")
    old.all("CREATE TABLE accounts (id INTEGER PRIMARY KEY, secret TEXT)")
    for key in range(ROWS):
        old.insert("accounts", id=key, secret=token(f"hunter2 of {key:02}"))
    environment["OLD_URL"] = old.url
    (tmp_path / "mapping.toml").write_text(MAPPING)
    command = ["encryption", "adopt", str(tmp_path / "mapping.toml"), "--blank-source", "--json"]
    everything = [f"hunter2 of {key:02}" for key in range(ROWS)]
    with running(load_settings(environment, env_file=None)) as app:
        tenant = ["create-tenant", "--name", "Acme", "--subdomain", "acme", "--admin-email", "a@acme.example"]
        assert app.test_cli_runner().invoke(args=tenant, input="correct horse battery\n").exit_code == 0

        with psycopg.connect(old.url) as holder:  # a row is stored here, and for 5 seconds cannot be blanked there
            holder.execute("SELECT * FROM accounts WHERE id >= %s FOR UPDATE", (HELD,))
            process = start(environment, *command)
            deadline = time.monotonic() + 60
            while how_many(app) <= HELD and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
            process.communicate()
        stored = secrets_here(app)
        assert HELD < len(stored) < ROWS
        assert stored == everything[: len(stored)]
        left = old.all("SELECT id FROM accounts WHERE secret IS NOT NULL ORDER BY id")
        assert left == [(key,) for key in range(HELD, ROWS)]

        two = [start(environment, *command) for _ in range(2)]
        told = [json.loads(process.communicate()[0]) for process in two]
        assert secrets_here(app) == everything
        assert sum(each["blanked"] for each in told) == ROWS - HELD
        last = app.test_cli_runner().invoke(args=command, env=environment)
        assert (last.exit_code, json.loads(last.stdout)["adopted"]) == (0, 0)
        assert old.all("SELECT DISTINCT secret FROM accounts") == [(None,)]
        assert secrets_here(app) == everything
