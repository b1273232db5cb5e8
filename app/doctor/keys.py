"""The master keys and the secrets behind tokens: whether they fit the database, are of age, or can go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import Connection, select

from app.config import Settings
from app.database import now
from app.doctor.findings import Finding, failure, ok, warning
from app.encryption import AppEncryption, inventory
from app.encryption.registry import KeyRefused
from app.identity import signing_keys
from app.identity.tokens import SigningKeys


def check(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """In the system's scope, of a migrated database. Counts no values: of a key that is still registered it asks
    whether there is one."""
    yield from _master_keys(settings, connection)
    yield from _signing_keys(settings, connection)


def too_old(settings: Settings, connection: Connection) -> Iterator[str]:
    """What to do about each key that is used for longer than KEY_MAX_AGE_DAYS."""
    registry, primary = _encryption().registry, settings.keyring.primary.id
    created_at = connection.execute(select(registry.keys.c.created_at).where(registry.keys.c.id == primary)).scalar()
    if _is_too_old(settings, created_at):
        yield f"ENCRYPTION_KEY {primary} is {_age(created_at)} old: see docs/key-rotation.md."
    current = _signing().current_id
    if _is_too_old(settings, used_at := signing_keys.first_used(connection, current)):
        yield f"JWT_SECRET_KEY {current} is {_age(used_at)} old: see docs/key-rotation.md."


def _master_keys(settings: Settings, connection: Connection) -> Iterator[Finding]:
    subject, registry, keyring = "encryption keys", _encryption().registry, settings.keyring
    try:
        registry.check(connection, keyring)
    except KeyRefused as refused:
        for problem in refused.problems:
            yield failure(subject, problem)
        return
    found = connection.execute(select(registry.keys.c.id, registry.keys.c.created_at))
    registered = {row.id: row.created_at for row in found}
    retired = set(connection.execute(select(registry.retired.c.id)).scalars())
    primary = keyring.primary.id
    if primary not in registered:
        yield warning(subject, f"{primary} is new to the database: it is registered when the service starts.")
    else:
        yield ok(subject, f"{primary} seals, for {_age(registered[primary])}; the canaries of all keys open")
    for key_id in registered.keys() - {primary}:
        needed = any(
            connection.execute(select(column.key).where(column.key_id == key_id).limit(1)).first() is not None
            for column in inventory(registry.metadata)
        )
        what = "values are still sealed under it: run `flask rotate-encryption-key`"
        way = what if needed else f"no value needs it any more: run `flask encryption retire {key_id}`"
        yield warning(subject, f"{key_id} is not the primary key, and {way}.")
    for key in keyring.fallbacks:
        if key.id in retired:
            yield warning(subject, f"{key.id} is retired: take it out of ENCRYPTION_KEY_FALLBACKS, and seal it away.")
        elif key.id not in registered:
            yield warning(
                subject,
                f"{key.id} is a fallback that the database does not know: make it the primary key, or take it out of "
                "ENCRYPTION_KEY_FALLBACKS.",
            )


def _signing_keys(settings: Settings, connection: Connection) -> Iterator[Finding]:
    subject, keys = "JWT secret", _signing()
    used_at = signing_keys.first_used(connection, keys.current_id)
    if used_at is None:
        yield warning(subject, f"{keys.current_id} has not signed yet: it is noted when the service starts.")
        return
    yield ok(subject, f"{keys.current_id} signs, for {_age(used_at)}")
    if settings.jwt_secret_key_fallbacks and now() - used_at > settings.refresh_token_expires:
        yield warning(
            subject,
            "No token of the secrets before it is valid any more: take them out of JWT_SECRET_KEY_FALLBACKS.",
        )


def check_age(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """One line for both kinds, or one for each key that is too old."""
    old = list(too_old(settings, connection))
    for text in old:
        yield warning("age of keys", text)
    if not old:
        yield ok("age of keys", f"none is used for longer than {settings.key_max_age.days} days")


def _is_too_old(settings: Settings, since: datetime | None) -> bool:
    return since is not None and now() - since > settings.key_max_age


def _age(since: datetime | None) -> str:
    days = (now() - since) // timedelta(days=1) if since is not None else 0
    return f"{days} {'day' if days == 1 else 'days'}"


def _encryption() -> AppEncryption:
    encryption: AppEncryption = current_app.extensions["encryption"]
    return encryption


def _signing() -> SigningKeys:
    keys: SigningKeys = current_app.extensions["signing_keys"]
    return keys
