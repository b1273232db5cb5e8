"""How far the replacement of both keys is after a break-in: what the configuration and the database say at this moment.

Keys that were in use before the service was isolated are known to others; one that the database first saw after that is
new. Nothing is remembered but in the tables that are there anyway, so the work may break off anywhere, and go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flask import current_app
from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent
from app.config import Settings
from app.encryption import AppEncryption
from app.identity import sessions, signing_keys
from app.identity.models import SigningKey
from app.identity.tokens import SigningKeys

KEYS_REPLACED: Final = "incident.keys_replaced"

_SIGNING = SigningKey.metadata.tables[SigningKey.__tablename__]
_EVENTS = AuditEvent.metadata.tables[AuditEvent.__tablename__]


@dataclass(frozen=True)
class Standing:
    """jwt_seen_at: when the database first saw the JWT secret that is configured; None: it has not yet.
    jwt_before: the JWT secret before this one. others: registered master keys that are not the primary one."""

    isolated_at: datetime
    jwt_id: str
    jwt_seen_at: datetime | None
    jwt_before: str | None
    jwt_is_new: bool
    jwt_fallbacks: int
    primary_id: str
    primary_is_new: bool
    primary_is_known: bool
    fallbacks: tuple[str, ...]
    others: tuple[str, ...]

    def to_configure(self) -> list[str]:
        """What has to be configured before anything can be done; nothing if both keys are new."""
        when = f"{self.isolated_at:%Y-%m-%dT%H:%M:%SZ}"
        lines = []
        if not self.jwt_is_new:
            why = "since when it is in use is not known" if self.jwt_seen_at is None else f"it was in use before {when}"
            lines.append(
                f"JWT_SECRET_KEY, whose id is {self.jwt_id}, is not new: {why}. "
                "Make another: python generate_keys.py --only jwt"
            )
        if self.jwt_fallbacks or not self.jwt_is_new:
            lines.append(
                "JWT_SECRET_KEY_FALLBACKS must be empty: what an old secret has signed must not count any more."
            )
        if not self.primary_is_new:
            lines.append(
                f"ENCRYPTION_KEY, whose id is {self.primary_id}, is not new: it was in use before {when}. "
                "Make another: python generate_keys.py --only encryption"
            )
            needed = ", ".join(dict.fromkeys((self.primary_id, *self.others)))
            lines.append(
                "ENCRYPTION_KEY_FALLBACKS must have what is needed until everything is sealed anew: the keys with the "
                f"ids {needed}."
            )
        return lines


def look(settings: Settings, connection: Connection, isolated_at: datetime) -> Standing:
    """Where the operator stands. Raises :class:`~app.encryption.registry.KeyRefused` where the keys do not fit the
    database at all. Changes nothing."""
    encryption: AppEncryption = current_app.extensions["encryption"]
    signing: SigningKeys = current_app.extensions["signing_keys"]
    registry, primary_id = encryption.registry, settings.keyring.primary.id
    registry.check(connection, settings.keyring)
    registered = {row.id: row.created_at for row in connection.execute(select(registry.keys))}
    seen_at = signing_keys.first_used(connection, signing.current_id)
    known = connection.execute(select(_SIGNING.c.id).order_by(_SIGNING.c.first_used_at.desc(), _SIGNING.c.id)).scalars()
    before = [key_id for key_id in known if key_id != signing.current_id]
    # A secret that the database has not seen is new where it has seen another: else none was ever written down.
    jwt_is_new = bool(before) if seen_at is None else seen_at >= isolated_at
    return Standing(
        isolated_at=isolated_at,
        jwt_id=signing.current_id,
        jwt_seen_at=seen_at,
        jwt_before=before[0] if before else None,
        jwt_is_new=jwt_is_new,
        jwt_fallbacks=len(settings.jwt_secret_key_fallbacks),
        primary_id=primary_id,
        primary_is_new=primary_id not in registered or registered[primary_id] >= isolated_at,
        primary_is_known=primary_id in registered,
        fallbacks=tuple(key.id for key in settings.keyring.fallbacks),
        others=tuple(key_id for key_id in registered if key_id != primary_id),
    )


def is_signed_out(session: Session, standing: Standing) -> bool:
    """Whether nobody is signed in any more from before the new JWT secret was in use. In the system's scope."""
    return standing.jwt_seen_at is not None and not sessions.any_from_before(session, standing.jwt_seen_at)


def proof(connection: Connection, standing: Standing, opened: int) -> dict[str, Any]:
    """What was done, in what JSON can hold: for the file of the incident. opened: how many values were, with the new
    key alone."""
    encryption: AppEncryption = current_app.extensions["encryption"]
    rotations = encryption.registry.rotations
    mine = select(rotations).where(rotations.c.to_key_id == standing.primary_id).order_by(rotations.c.id)
    found = connection.execute(mine).all()
    from_ids = dict.fromkeys(key_id for row in found for key_id in row.from_key_ids.split(",") if key_id)
    retired = encryption.registry.retired
    gone = connection.execute(select(retired.c.id).where(retired.c.id.in_(from_ids))).scalars().all()
    ended = _details(connection, "everybody.signed_out", standing.isolated_at)
    return {
        "isolated_at": standing.isolated_at.isoformat(),
        "jwt_secret": {"from": standing.jwt_before, "to": standing.jwt_id},
        "sessions_ended": sum(int(details["sessions"]) for details in ended),
        "encryption_key": {"from": list(from_ids), "to": standing.primary_id, "retired": sorted(gone)},
        "values_rotated": sum(row.rotated for row in found),
        "values_opened": opened,
    }


def is_recorded(connection: Connection, standing: Standing) -> bool:
    """Whether the audit trail has the proof of this replacement already."""
    found = _details(connection, KEYS_REPLACED, standing.isolated_at)
    wanted = standing.jwt_id, standing.primary_id
    return any((details["jwt_secret"]["to"], details["encryption_key"]["to"]) == wanted for details in found)


def _details(connection: Connection, action: str, since: datetime) -> list[dict[str, Any]]:
    wanted = _EVENTS.c.tenant_id.is_(None), _EVENTS.c.action == action, _EVENTS.c.occurred_at >= since
    return list(connection.execute(select(_EVENTS.c.details).where(*wanted)).scalars())
