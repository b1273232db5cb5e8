"""Whether this process can serve: database, migrations, encryption keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.encryption import AppEncryption
from app.encryption.registry import KeyRefused
from app.extensions import db
from app.tenancy import FLOOR_MISSING, keeps_tenants_apart, system_scope

READY: Final = "ok"
UNKNOWN: Final = "Unknown while the database cannot be reached."
ISOLATION: Final = "tenant_isolation"


class NotReady(Exception):
    """A check that failed. The message is for the public: no value, no address, of keys only their ids."""


def check_readiness(engine: Engine) -> dict[str, str]:
    """The outcome of every check by its name: ``"ok"``, or a sentence that says what is wrong. See :func:`is_ready`."""
    checks: dict[str, Callable[[Connection], None]] = {
        "database": _check_database,
        "migrations": _check_migrations,
        "encryption_keys": _check_keys,
        ISOLATION: _check_isolation,
    }
    try:
        _register_key_if_due(engine)
        with engine.connect() as connection:
            return {name: _outcome(check, connection) for name, check in checks.items()}
    except SQLAlchemyError:
        return {
            "database": "The database cannot be reached.",
            **dict.fromkeys(list(checks)[1:], UNKNOWN),
        }


def is_ready(checks: Mapping[str, str]) -> bool:
    """Whether the process can serve. It can without the database's help in keeping tenants apart, which some plans of
    hosting do not allow."""
    return all(outcome == READY for name, outcome in checks.items() if name != ISOLATION)


def is_migrated(connection: Connection) -> bool:
    """Whether every migration that this version knows has been made.

    A migration that it does not know comes from a newer version, which a rolling deployment starts beside this one.
    """
    made = set(MigrationContext.configure(connection).get_current_heads())
    heads, known = migrations()
    return heads <= made or not made <= known


def _outcome(check: Callable[[Connection], None], connection: Connection) -> str:
    try:
        check(connection)
    except NotReady as reason:
        return str(reason)
    return READY


def _check_database(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def _check_migrations(connection: Connection) -> None:
    if not is_migrated(connection):
        raise NotReady("The database is not migrated to this version: run `flask db upgrade`.")


def _register_key_if_due(engine: Engine) -> None:
    """A process that was started before its database was migrated does now what is due at the start: until it is ready
    it gets no other request."""
    encryption: AppEncryption = current_app.extensions["encryption"]
    if not encryption.checked:
        with suppress(KeyRefused), system_scope():  # which the check of the keys reports
            encryption.check_and_register(engine)


def _check_keys(connection: Connection) -> None:
    encryption: AppEncryption = current_app.extensions["encryption"]
    try:
        encryption.registry.check(connection, encryption.keyring)
    except KeyRefused as refused:
        raise NotReady(" ".join(refused.problems)) from None
    primary = encryption.keyring.primary.id
    if not encryption.checked or primary not in encryption.registry.registered(connection):
        raise NotReady(f"The primary key {primary} is not registered.")


def _check_isolation(connection: Connection) -> None:
    if not keeps_tenants_apart(connection, [table for table in db.metadata.tables.values() if "tenant_id" in table.c]):
        raise NotReady(FLOOR_MISSING)


@lru_cache(maxsize=1)
def migrations() -> tuple[frozenset[str], frozenset[str]]:
    """The newest migration, and all. They do not change while the process lives."""
    scripts = ScriptDirectory.from_config(current_app.extensions["migrate"].migrate.get_config())
    return frozenset(scripts.get_heads()), frozenset(script.revision for script in scripts.walk_revisions())
