"""Who delivers: a phone system that shows, in the way of its vendor, that it has the webhook secret stored for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app.database import now
from app.encryption import sealed
from app.encryption.keyring import Context
from app.errors import Unauthenticated
from app.phone_systems.models import PhoneSystem
from app.phone_systems.vendors import authentication_of
from app.phone_systems.vendors.authentication import ALL, Authentication, Proof
from app.tenancy import system_scope, tenant_scope
from app.tenants.models import Tenant

NOBODY: Final = UUID(int=0)
CURRENT: Final = "webhook_password"
PREVIOUS: Final = "previous_webhook_password"

_LABEL: Final = re.compile(r"[a-z0-9-]{1,63}")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class WrongCredentials(Unauthenticated):
    """Wrong, or missing, or for a phone system that does not exist: nobody can tell.

    phone_system_id, tenant_id: for us alone, which one it was meant for; None if there is none.
    """

    headers = MappingProxyType({"WWW-Authenticate": 'Basic realm="AudiaPro"'})

    def __init__(self, phone_system_id: UUID | None, tenant_id: UUID | None) -> None:
        super().__init__("The user name, the password or the signature is not right for this address.")
        self.phone_system_id, self.tenant_id = phone_system_id, tenant_id


@dataclass(frozen=True, slots=True)
class Sender:
    """A phone system that has signed in. ``name`` is what people call it; ``time_zone`` is that of its clock,
    ``country`` the tenant's; ``secret`` the name of the column whose password it sent, ``secret_changed_at`` when that
    got there, if it is known.
    """

    phone_system_id: UUID
    tenant_id: UUID
    name: str
    vendor: str
    time_zone: ZoneInfo
    country: str | None
    secret: str
    secret_changed_at: datetime | None


class _Stored(NamedTuple):
    """What is known of a phone system, with its webhook passwords still sealed."""

    id: UUID
    tenant_id: UUID
    name: str
    vendor: str
    time_zone: str
    country: str | None
    webhook_username: str | None
    webhook_password: str | None
    webhook_password_changed_at: datetime | None
    webhook_password_used_at: datetime | None
    previous_webhook_password: str | None
    previous_webhook_password_changed_at: datetime | None
    grace_ends_at: datetime | None


def authenticate(session: Session, subdomain: str, phone_system_id: str, proof: Proof) -> Sender:
    """The phone system with that id, of the tenant with that subdomain, if this proves, in the way of its vendor, that
    it delivers. While a password that was rotated has not expired, it is accepted as well. The first time that the
    webhook password is used, the phone system's row gets to know; the caller commits.

    Raises :class:`WrongCredentials` whatever is wrong, after the same work: neither the answer nor its time
    shows whether a tenant or a phone system exists, nor whose make it is. Raises
    :class:`~app.encryption.EncryptionError` when the stored password cannot be opened.
    """
    found = _find(session, subdomain, phone_system_id)
    way = authentication_of(found.vendor if found is not None else "")
    is_named = [(each is way) & each.names(proof, (found and found.webhook_username) or "") for each in ALL]
    known = found is not None and found.webhook_password is not None and any(is_named)
    # Exactly two values are opened, whatever is wrong.
    stored = found if found is not None and known else _decoy()
    has_previous = stored.previous_webhook_password is not None and _is_ahead(stored.grace_ends_at)
    is_current = _proves(way, proof, _open(stored, CURRENT))
    is_previous = _proves(way, proof, _open(stored if has_previous else _decoy(), PREVIOUS)) & has_previous
    if not (known and (is_current | is_previous)):
        raise WrongCredentials(found and found.id, found and found.tenant_id)
    used = CURRENT if is_current else PREVIOUS
    if is_current and stored.webhook_password_used_at is None:
        _note_first_use(session, stored)
    return Sender(
        stored.id,
        stored.tenant_id,
        stored.name,
        stored.vendor,
        ZoneInfo(stored.time_zone),
        stored.country,
        f"phone_systems.{used}",
        getattr(stored, f"{used}_changed_at"),
    )


def _proves(way: Authentication, proof: Proof, secret: str) -> bool:
    """Every way is tried, and one counts: the work depends on what was sent alone."""
    results = [(each is way) & each.proves(proof, secret) for each in ALL]
    return any(results)


def _note_first_use(session: Session, stored: _Stored) -> None:
    """Unless another delivery was faster, or the password was changed meanwhile: what is set now is not what was used.
    Past the ORM, and with ``updated_at`` as it is: no change that people make is to collide with it."""
    unused = _PHONE_SYSTEMS.c.webhook_password_used_at.is_(None)
    is_the_same = _PHONE_SYSTEMS.c.webhook_password_encrypted == stored.webhook_password
    noted = update(_PHONE_SYSTEMS).where(_PHONE_SYSTEMS.c.id == stored.id, unused, is_the_same)
    with tenant_scope(stored.tenant_id):
        session.connection().execute(
            noted.values(webhook_password_used_at=now(), updated_at=_PHONE_SYSTEMS.c.updated_at)
        )


def _is_ahead(moment: datetime | None) -> bool:
    return moment is not None and moment > now()


def _find(session: Session, subdomain: str, phone_system_id: str) -> _Stored | None:
    """One query, also for what cannot exist."""
    parameters = {
        "subdomain": subdomain if _LABEL.fullmatch(subdomain) else "",
        "id": UUID(phone_system_id) if _UUID.fullmatch(phone_system_id) else NOBODY,
    }
    with system_scope():  # whose tenant's it is, the address only claims
        row = session.connection().execute(_FIND, parameters).one_or_none()
    return _Stored._make(row) if row is not None else None


_PHONE_SYSTEMS: Final = PhoneSystem.metadata.tables["phone_systems"]
_TENANTS: Final = Tenant.metadata.tables["tenants"]
_FIND: Final = (
    select(
        _PHONE_SYSTEMS.c.id,
        _PHONE_SYSTEMS.c.tenant_id,
        _PHONE_SYSTEMS.c.name,
        _PHONE_SYSTEMS.c.vendor,
        func.coalesce(_PHONE_SYSTEMS.c.time_zone, _TENANTS.c.time_zone),
        _TENANTS.c.country,
        _PHONE_SYSTEMS.c.webhook_username,
        _PHONE_SYSTEMS.c.webhook_password_encrypted,
        _PHONE_SYSTEMS.c.webhook_password_changed_at,
        _PHONE_SYSTEMS.c.webhook_password_used_at,
        _PHONE_SYSTEMS.c.previous_webhook_password_encrypted,
        _PHONE_SYSTEMS.c.previous_webhook_password_changed_at,
        _PHONE_SYSTEMS.c.previous_webhook_password_expires_at,
    )
    .join_from(_PHONE_SYSTEMS, _TENANTS, _TENANTS.c.id == _PHONE_SYSTEMS.c.tenant_id)
    .where(
        _TENANTS.c.subdomain == bindparam("subdomain"),
        _TENANTS.c.suspended_at.is_(None),
        _PHONE_SYSTEMS.c.id == bindparam("id"),
    )
)


def _open(stored: _Stored, attribute: str) -> str:
    """The plaintext, read from an object that is in no session: loading one takes longer than all the rest."""
    sealed_password: dict[str, Any] = {f"{attribute}_encrypted": getattr(stored, attribute)}
    phone_system = PhoneSystem(id=stored.id, tenant_id=stored.tenant_id, **sealed_password)
    return cast(str, getattr(phone_system, attribute))


def _decoy() -> _Stored:
    """What is opened and compared in place of credentials that do not exist. Nobody can match it."""
    encryption = current_app.extensions["encryption"]
    if "webhook_decoy" not in current_app.extensions:
        contexts = [Context(f"phone_systems.{name}", str(NOBODY), str(NOBODY)) for name in (CURRENT, PREVIOUS)]
        current, previous = (sealed.seal(encryption.keyring.primary, context, bytes(24)) for context in contexts)
        current_app.extensions["webhook_decoy"] = _Stored(
            NOBODY, NOBODY, "", "", "UTC", None, "", current, None, None, previous, None, None
        )
    decoy: _Stored = current_app.extensions["webhook_decoy"]
    return decoy
