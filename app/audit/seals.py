"""Seals show whether the audit trail was altered: changed, added to afterwards, or shortened.

Each seal holds a digest of the events since the one before, and the digest of that seal. What it holds is encrypted and
authenticated like every secret: who can write to the database, but has no master key, cannot make one. A rotation of
the key re-encrypts the seals with everything else. Against somebody who removes the last seals too, there is the digest
of the newest, which is printed: keep it elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent, AuditSeal
from app.database import now
from app.encryption import EncryptionError
from app.errors import Conflict

LAG: Final = timedelta(minutes=10)  # events younger than this may still be in transactions that are not committed

_ROWS: Final = 1000
_COLUMNS: Final = tuple(AuditEvent.__table__.columns)


@dataclass(frozen=True)
class Seal:
    """What a seal holds. previous: the digest of the seal before. until: the id of the last event that it covers.
    events, events_digest: of those since the seal before. expired: they were removed, after their time."""

    number: int
    previous: str | None
    until: str
    events: int
    events_digest: str
    expired: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 in hex: the same before and after its events have expired."""
        return hashlib.sha256(_canonical(asdict(replace(self, expired=False)))).hexdigest()


class Expired(NamedTuple):
    seals: int
    events: int


@dataclass(frozen=True)
class Verified:
    """``problems``: sentences, one for each thing that does not fit. ``unsealed``: events after the last seal."""

    seals: int
    events: int
    unsealed: int
    problems: list[str]


def seal(session: Session) -> Seal | None:
    """Seal the events since the last seal, and commit; None if there are none yet.

    Raises :class:`~app.errors.Conflict` when another process sealed at the same moment.
    """
    last = session.scalars(select(AuditSeal).order_by(AuditSeal.number.desc()).limit(1)).one_or_none()
    previous = Seal(**last.content) if last is not None else None
    due = [*_period(previous, None), AuditEvent.occurred_at <= now() - LAG]
    until = session.scalar(select(AuditEvent.id).where(*due).order_by(AuditEvent.id.desc()).limit(1))
    if until is None:
        return None
    digest, count = _digest_of_events(session, _period(previous, str(until)))
    new = Seal(
        number=previous.number + 1 if previous else 1,
        previous=previous.digest if previous else None,
        until=str(until),
        events=count,
        events_digest=digest,
    )
    session.add(AuditSeal(number=new.number, sealed_at=now(), content=asdict(new)))
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Conflict("Another process has sealed the audit trail at this very moment.") from None
    return new


def expire(session: Session, retention: timedelta) -> Expired:
    """Remove the events whose seal is older than ``retention``, and commit. The seals stay, and say so."""
    expired = []
    previous: Seal | None = None
    for stored in session.scalars(select(AuditSeal).order_by(AuditSeal.number)).all():
        found = Seal(**stored.content)
        if stored.sealed_at < now() - retention and not found.expired:
            removed = delete(AuditEvent).where(*_period(previous, found.until))
            session.execute(removed.execution_options(synchronize_session=False))
            stored.content = asdict(replace(found, expired=True))
            session.commit()
            expired.append(found)
        previous = found
    return Expired(len(expired), sum(found.events for found in expired))


def verify(session: Session, known_digest: str | None = None) -> Verified:
    """Compare every event with its seal. known_digest: of a seal that has to be there, because it was once."""
    problems: list[str] = []
    seals: list[Seal] = []
    for stored in session.scalars(select(AuditSeal).order_by(AuditSeal.number)):
        number, previous = len(seals) + 1, seals[-1] if seals else None
        found = _open(stored)
        if stored.number != number or found is None or found.number != number:
            is_missing = stored.number != number
            problems.append(f"Seal {number} {'is missing' if is_missing else 'was altered, or made elsewhere'}.")
            break  # what follows cannot be compared
        seals.append(found)
        problems += _problems_of(session, previous, found)
    if known_digest is not None and known_digest not in {found.digest for found in seals}:
        problems.append("No seal has the digest that was given: seals were removed.")
    not_sealed = select(func.count(AuditEvent.id)).where(*_period(seals[-1] if seals else None, None))
    events = sum(found.events for found in seals if not found.expired)
    return Verified(len(seals), events, session.scalar(not_sealed) or 0, problems)


def _open(stored: AuditSeal) -> Seal | None:
    try:
        return Seal(**stored.content)
    except (EncryptionError, TypeError):  # the latter: it was removed
        return None


def _problems_of(session: Session, previous: Seal | None, found: Seal) -> Iterator[str]:
    if found.previous != (previous.digest if previous else None):
        yield f"Seal {found.number} does not follow the one before it."
    digest, count = _digest_of_events(session, _period(previous, found.until))
    if found.expired:
        if count:
            yield f"Seal {found.number}: its events were removed after their time, but there are {count}."
    elif count != found.events:
        yield f"Seal {found.number} was made for {found.events} events, but there are {count}."
    elif digest != found.events_digest:
        yield f"Seal {found.number}: at least one of its {count} events was altered."


def _period(previous: Seal | None, until: str | None) -> list[ColumnElement[bool]]:
    """The events after a seal up to one, by their ids, which are in the order of time."""
    since = [AuditEvent.id > UUID(previous.until)] if previous is not None else []
    return since + ([AuditEvent.id <= UUID(until)] if until is not None else [])


def _digest_of_events(session: Session, period: list[ColumnElement[bool]]) -> tuple[str, int]:
    """SHA-256 in hex over every column of the events, one line of JSON each, and how many there are."""
    digest, count = hashlib.sha256(), 0
    statement = select(*_COLUMNS).where(*period).order_by(AuditEvent.id).execution_options(yield_per=_ROWS)
    for row in session.execute(statement):
        digest.update(_canonical([_plain(value) for value in row]) + b"\n")
        count += 1
    return digest.hexdigest(), count


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
