"""What the sections share: keys, the environment of a process of the service, and a migrated database."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

from argon2 import PasswordHasher
from cryptography.fernet import Fernet

from app.encryption.keyring import MasterKey

ROOT = Path(__file__).parent.parent
SECRETS = {name: secrets.token_bytes(32) for name in "AB"}
KEYS = {name: MasterKey(secret) for name, secret in SECRETS.items()}
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
JWT_SECRET_KEY = secrets.token_urlsafe(48)


def key_text(name: str) -> str:
    return base64.urlsafe_b64encode(SECRETS[name]).decode()


def plain_fernet(key: MasterKey) -> Fernet:
    """The key as an application uses it that derives nothing from it."""
    secret = next(SECRETS[name] for name in KEYS if KEYS[name] == key)
    return Fernet(base64.urlsafe_b64encode(secret))


def environment(database_url: str, key: str = "A", fallback: str | None = None, **more: str) -> dict[str, str]:
    """Variables of a process of the service: production, as an operator would run it."""
    own = {
        "APP_ENV": "production",
        "JWT_SECRET_KEY": JWT_SECRET_KEY,
        "ENCRYPTION_KEY": key_text(key),
        "ENCRYPTION_KEY_FALLBACKS": key_text(fallback) if fallback else "",
        "DATABASE_URL": database_url,
        "REDIS_URL": "",
        "RATELIMIT_SIGN_IN": "999999999 per minute",
        "RATELIMIT_API": "999999999 per minute",  # counted, and never met
        "RATELIMIT_TENANT_BUDGET": "999999999",
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | own | more


def run_flask(
    database_url: str, *arguments: str, key: str = "A", fallback: str | None = None, stdin: str | None = None
) -> str:
    """The output of a `flask` command of the service. stdin: what it reads."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("flask")), *arguments],
        cwd=ROOT,
        env=environment(database_url, key, fallback),
        check=True,
        input=stdin,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
