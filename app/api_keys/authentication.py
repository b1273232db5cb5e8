"""Which API key a request was sent with: ``audiapro_<prefix>_<secret>``, found by its prefix, known by its hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from flask import current_app
from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from app.api_keys.models import ApiKey
from app.database import now
from app.encryption import sealed
from app.encryption.keyring import Context
from app.errors import Unauthenticated
from app.tenancy import system_scope
from app.tenants.models import Tenant

BEGINNING: Final = "audiapro_"
PREFIX_LENGTH: Final = 12  # of 5 bits each, as in the secret
SECRET_LENGTH: Final = 52
NOTED_ONCE_IN: Final = timedelta(minutes=1)
NOBODY: Final = UUID(int=0)

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # of Base32 (RFC 4648): a double click takes all of a key
_KEY: Final = re.compile(f"{BEGINNING}([a-z2-7]{{{PREFIX_LENGTH}}})_[a-z2-7]{{{SECRET_LENGTH}}}")


class NewKey(NamedTuple):
    """A key that nobody has yet."""

    prefix: str
    text: str


class Found(NamedTuple):
    """What is known of an API key, with its hash still sealed."""

    id: UUID
    tenant_id: UUID
    name: str
    role: str
    expires_at: datetime | None
    last_used_at: datetime | None
    token_hash: str | None


def make_key() -> NewKey:
    """A key of 260 random bits, and 60 to find it by."""
    prefix, secret = (
        "".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (PREFIX_LENGTH, SECRET_LENGTH)
    )
    return NewKey(prefix, f"{BEGINNING}{prefix}_{secret}")


def hash_of(text: str) -> str:
    """What is stored of a key, before it is sealed. There is too much chance in it for anything slower to be needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def authenticate(session: Session, text: str) -> Found:
    """The API key that ``text`` is. Raises :class:`~app.errors.Unauthenticated` for what is none, an expired or deleted
    key, and one of a suspended tenant, with the same words and after the same work. Raises
    :class:`~app.encryption.EncryptionError` when the stored hash cannot be opened."""
    form = _KEY.fullmatch(text)
    found = _find(session, form[1] if form else "")
    if found is not None and found.token_hash is None:  # it was given up with the key that it was sealed under
        found = None
    stored = found or _decoy()  # exactly one value is opened, whatever is wrong
    matches = hmac.compare_digest(_open_hash(stored), hash_of(text))
    expired = stored.expires_at is not None and stored.expires_at <= now()
    if found is None or not matches or expired:
        raise Unauthenticated("The API key is not valid, or not any more.")
    return found


def note_use(session: Session, found: Found) -> None:
    """Write down that the key is used, once a minute at the most. Ends the transaction, so that on SQLite one that has
    only read so far need not become one that writes."""
    before = now() - NOTED_ONCE_IN
    session.commit()
    if found.last_used_at is None or found.last_used_at < before:
        not_noted = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < before)
        session.execute(update(ApiKey).where(ApiKey.id == found.id, not_noted).values(last_used_at=now()))
        session.commit()


def _find(session: Session, prefix: str) -> Found | None:
    """One query, also for what cannot exist."""
    with system_scope():  # whose tenant's it is, is what is being found out
        row = session.connection().execute(_FIND, {"prefix": prefix}).one_or_none()
    return Found._make(row) if row is not None else None


_API_KEYS: Final = ApiKey.metadata.tables["api_keys"]
_TENANTS: Final = Tenant.metadata.tables["tenants"]
_FIND: Final = (
    select(
        _API_KEYS.c.id,
        _API_KEYS.c.tenant_id,
        _API_KEYS.c.name,
        _API_KEYS.c.role,
        _API_KEYS.c.expires_at,
        _API_KEYS.c.last_used_at,
        _API_KEYS.c.token_hash_encrypted,
    )
    .join_from(_API_KEYS, _TENANTS, _TENANTS.c.id == _API_KEYS.c.tenant_id)
    .where(_TENANTS.c.suspended_at.is_(None), _API_KEYS.c.prefix == bindparam("prefix"))
)


def _open_hash(stored: Found) -> str:
    """Read from an object that is in no session: loading one takes longer than all the rest."""
    sealed_hash: dict[str, Any] = {"token_hash_encrypted": stored.token_hash}
    token_hash: str = ApiKey(id=stored.id, tenant_id=stored.tenant_id, **sealed_hash).token_hash
    return token_hash


def _decoy() -> Found:
    """What is opened and compared in place of a key that does not exist. Nobody can match it."""
    if "api_key_decoy" not in current_app.extensions:
        context = Context("api_keys.token_hash", str(NOBODY), str(NOBODY))
        primary = current_app.extensions["encryption"].keyring.primary
        value = sealed.seal(primary, context, secrets.token_hex(32).encode())
        current_app.extensions["api_key_decoy"] = Found(NOBODY, NOBODY, "", "", None, None, value)
    decoy: Found = current_app.extensions["api_key_decoy"]
    return decoy
