"""What happens before a process serves: configuration, start-up check of the keys, and what the operator is told.

Whatever is wrong ends the process here, before it forks or opens a port, with a message on standard error that says
what to do. Exit status 78 (EX_CONFIG): starting again does not help; 1: it may.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NoReturn

import click
from flask import Flask
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from app.config import EXIT_CONFIG, EXIT_UNAVAILABLE, ConfigurationError, Settings, load_settings
from app.connections import check_connections
from app.database import name_of, reason
from app.doctor.keys import too_old
from app.encryption import AppEncryption
from app.encryption.registry import KeyRefused
from app.extensions import db
from app.identity import signing_keys
from app.status.service import is_migrated
from app.tenancy import system_scope


@cache
def load_settings_or_exit() -> Settings:
    """The configuration; or the report of what is wrong with it, and the end.

    Read once: gunicorn's configuration and the application both ask, and stores of secrets are asked over the network.
    """
    try:
        return load_settings()
    except ConfigurationError as error:
        _end(str(error), error.exit_code)


def check_start(app: Flask, settings: Settings) -> list[str]:
    """Run the start-up check in an application context, register a new primary key, and return what the operator
    should see. Raises SystemExit when the keys do not fit the database, or it cannot be reached."""
    encryption: AppEncryption = app.extensions["encryption"]
    name = name_of(db.engine.url)
    doubts: list[str] = []
    try:
        with database_or_exit(), system_scope():
            encryption.check_and_register(db.engine)
            with db.engine.connect() as connection:
                migrated = is_migrated(connection)
                doubts += check_connections(connection, settings)
                if migrated:
                    signing_keys.register(connection, app.extensions["signing_keys"].current_id)
                    doubts += too_old(settings, connection)
    except KeyRefused as refused:
        problems = "\n".join(f"  - {problem}" for problem in refused.problems)
        _end(f"AudiaPro cannot start: the encryption keys do not fit the database.\n{problems}", EXIT_CONFIG)
    finally:
        db.engine.dispose()
    return [
        *(f"warning: {warning}" for warning in settings.warnings),
        *_mail(settings),
        *_counting(settings),
        *(f"warning: {doubt}" for doubt in doubts),
        _keys_loaded(settings),
        f"database ready: {name}" if migrated else f"database not migrated: {name}: run `flask db upgrade`",
    ]


@contextmanager
def database_or_exit(url: URL | None = None) -> Iterator[None]:
    """End with one line, and not with a traceback, where the database does not answer or refuses what we are.

    url: of the database, where it is not the service's.
    """
    try:
        yield
    except DBAPIError as error:
        used = url or db.engine.url
        _end(f"The database cannot be used: {name_of(used)}: {reason(error, used)}", EXIT_UNAVAILABLE)


def _mail(settings: Settings) -> list[str]:
    if settings.resend_api_key is not None or settings.environment == "development":
        return []
    return ["warning: no mail can be sent, and what needs it is refused: set RESEND_API_KEY"]


def _counting(settings: Settings) -> list[str]:
    if settings.redis_url is not None or settings.web_concurrency == 1:
        return []
    count = settings.web_concurrency
    return [
        f"warning: {count} processes count requests each by itself, so limits are {count} times as wide: set REDIS_URL"
    ]


def _keys_loaded(settings: Settings) -> str:
    """Ids, and from what kind of place each came."""
    fallbacks = ", ".join(key.id for key in settings.keyring.fallbacks) or "none"
    count = len(settings.jwt_secret_key_fallbacks)
    encryption, encryption_fallbacks, jwt, jwt_fallbacks = (
        f" ({settings.origins[name]})" if name in settings.origins else ""
        for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS", "JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS")
    )
    return (
        f"keys loaded: encryption primary {settings.keyring.primary.id}{encryption}, "
        f"fallbacks {fallbacks}{encryption_fallbacks}; "
        f"JWT secret{jwt} with {count} fallback{'' if count == 1 else 's'}{jwt_fallbacks}"
    )


def say(line: str) -> None:
    """Tell the operator, on standard error."""
    click.echo(line, err=True)


def _end(report: str, status: int) -> NoReturn:
    say(report)
    raise SystemExit(status)
