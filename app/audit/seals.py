"""Seals show whether the audit trail was altered: changed, added to afterwards, or shortened.

Each seal holds a digest of the events since the one before, the digest of that seal, and when it was made. What it
holds is encrypted and authenticated like every secret: who can write to the database, but has no master key, cannot
make one, nor make one look older than it is. A rotation of the key re-encrypts the seals with everything else. Against
somebody who removes the last seals too, there is the digest of the newest, which is printed: keep it elsewhere.

A seal that does not open any more is a break. Sealing goes on: the next seal follows the newest one that opens, and
covers the events from there on once more. The break itself is reported for ever.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent, AuditSeal
from app.database import now
from app.encryption import EncryptionError, UnknownKey
from app.errors import Conflict

LAG: Final = timedelta(minutes=10)  # by how much the clocks of the machines that record may differ, and more
LONGEST_WAIT_SECONDS: Final = 10

_ROWS: Final = 1000
# What a digest is made of, by the version that a seal names: one that was ever used stays, in this order.
_COLUMNS: Final[dict[int, tuple[str, ...]]] = {
    1: (
        "id",
        "tenant_id",
        "occurred_at",
        "action",
        "outcome",
        "actor_type",
        "actor_id",
        "actor_name",
        "object_id",
        "address",
        "request_id",
        "count",
        "details",
    )
}


@dataclass(frozen=True)
class Seal:
    """What a seal holds. sealed_at: when it was made, in ISO 8601. follows, previous: the number and the digest of the
    seal before: the newest that opened then, None if there was none. since, until: the id of the last event before, and
    of the last event that it covers. version: of the columns that are in the digest. events, events_digest: of those
    between. expired: they were removed, after their time."""

    number: int
    sealed_at: str
    follows: int | None
    previous: str | None
    since: str | None
    until: str
    version: int
    events: int
    events_digest: str
    expired: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 in hex: the same before and after its events have expired."""
        return hashlib.sha256(_canonical(asdict(replace(self, expired=False)))).hexdigest()

    @property
    def is_after_break(self) -> bool:
        """Whether the seal before did not open when this one was made."""
        return self.number != (self.follows or 0) + 1

    def is_older_than(self, retention: timedelta) -> bool:
        return datetime.fromisoformat(self.sealed_at) < now() - retention


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

    Raises :class:`~app.errors.Conflict` when another process sealed at the same moment, or a transaction that records
    events does not end.
    """
    _wait_for_open_transactions(session)
    number, previous = _newest(session)
    since = previous.until if previous else None
    due = [*_period(since, None), AuditEvent.occurred_at <= now() - LAG]
    until = session.scalar(select(AuditEvent.id).where(*due).order_by(AuditEvent.id.desc()).limit(1))
    if until is None:
        return None
    version = max(_COLUMNS)
    digest, count = _digest_of_events(session, _period(since, str(until)), version)
    moment = now()
    new = Seal(
        number=number + 1,
        sealed_at=moment.isoformat(),
        follows=previous.number if previous else None,
        previous=previous.digest if previous else None,
        since=since,
        until=str(until),
        version=version,
        events=count,
        events_digest=digest,
    )
    session.add(AuditSeal(number=new.number, sealed_at=moment, content=asdict(new)))
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Conflict("Another process has sealed the audit trail at this very moment.") from None
    return new


def expire(session: Session, retention: timedelta) -> Expired:
    """Remove the events whose seal is older than ``retention``, oldest first, and commit. The seals stay, and say so.

    Only what was sealed counts as the time: the column beside it, whoever writes to the database can change. What a
    seal covers that does not open stays.
    """
    expired = []
    for stored in session.scalars(select(AuditSeal).order_by(AuditSeal.number)).all():
        found = _open(stored)
        if found is None or found.expired:
            continue
        if not found.is_older_than(retention):
            break
        removed = delete(AuditEvent).where(*_period(found.since, found.until))
        session.execute(removed.execution_options(synchronize_session=False))
        stored.content = asdict(replace(found, expired=True))
        session.commit()
        expired.append(found)
    return Expired(len(expired), sum(found.events for found in expired))


def verify(session: Session, retention: timedelta, known_digest: str | None = None) -> Verified:
    """Compare every event with its seal. retention: younger events must not have expired. known_digest: of a seal that
    has to be there, because it was once."""
    problems: list[str] = []
    seals: list[Seal] = []
    number = 0
    for stored in session.scalars(select(AuditSeal).order_by(AuditSeal.number)):
        if stored.number != number + 1:
            problems.append(f"Seal {number + 1} is missing.")
        number, found = stored.number, _open(stored)
        if found is None:
            problems.append(f"Seal {number} was altered, or made elsewhere.")
            continue
        problems += _problems_of_place(seals[-1] if seals else None, found)
        problems += _problems_of_events(session, found)
        if found.expired and not found.is_older_than(retention):
            problems.append(f"Seal {number}: its events were removed before their time.")
        if found.expired and seals and not seals[-1].expired:
            problems.append(f"Seal {number}: its events were removed, but not those before them.")
        seals.append(found)
    if known_digest is not None and known_digest not in {found.digest for found in seals}:
        problems.append("No seal has the digest that was given: seals were removed.")
    not_sealed = select(func.count(AuditEvent.id)).where(*_period(seals[-1].until if seals else None, None))
    events = sum(found.events for found in seals if not found.expired)
    return Verified(len(seals), events, session.scalar(not_sealed) or 0, problems)


def _wait_for_open_transactions(session: Session) -> None:
    """Until every event that has an id by now can be seen, or never will be: one that is committed later, under a seal
    that was made without it, would look like one that was added. Nobody else waits for that.

    SQLite has one transaction at a time that writes.
    """
    if session.connection().dialect.name != "postgresql":
        return
    waited_for = set(session.scalars(_WRITERS))
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    while waited_for := waited_for.intersection(session.scalars(_WRITERS)):
        if time.monotonic() > give_up_at:
            raise Conflict("A transaction that records events does not end: nothing was sealed, try again.")
        time.sleep(0.05)


# Transactions that have added to the table, or are about to: they hold its lock until they end.
_WRITERS: Final = text("""
    SELECT virtualtransaction FROM pg_locks
    WHERE relation = 'audit_events'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


def _newest(session: Session) -> tuple[int, Seal | None]:
    """The number of the last seal, and the last that opens."""
    newest_first = select(AuditSeal).order_by(AuditSeal.number.desc()).limit(1)
    stored = last = session.scalar(newest_first)
    while stored is not None and (found := _open(stored)) is None:
        stored = session.scalar(newest_first.where(AuditSeal.number < stored.number))
    return last.number if last is not None else 0, found if stored is not None else None


def _open(stored: AuditSeal) -> Seal | None:
    """What the seal holds; None if it was altered, removed, or made for another place.

    Raises :class:`~app.errors.Conflict` when this process does not have its key: then there is no telling.
    """
    try:
        found = Seal(**stored.content)
    except UnknownKey:
        raise Conflict("A seal is under a key that is not configured: see `flask encryption status`.") from None
    except (EncryptionError, TypeError):  # the latter: it was removed
        return None
    return found if found.number == stored.number else None


def _problems_of_place(before: Seal | None, found: Seal) -> Iterator[str]:
    """before: the last one that opens. Where the one in between does not, it was reported."""
    follows, previous = (before.number, before.digest) if before is not None else (None, None)
    is_next = found.number == (follows or 0) + 1
    if found.previous != previous and (is_next or found.is_after_break):
        yield f"Seal {found.number} does not follow the one before it."


def _problems_of_events(session: Session, found: Seal) -> Iterator[str]:
    digest, count = _digest_of_events(session, _period(found.since, found.until), found.version)
    if found.expired:
        if count:
            yield f"Seal {found.number}: its events were removed after their time, but there are {count}."
    elif count != found.events:
        yield f"Seal {found.number} was made for {found.events} events, but there are {count}."
    elif digest != found.events_digest:
        yield f"Seal {found.number}: at least one of its {count} events was altered."


def _period(since: str | None, until: str | None) -> list[ColumnElement[bool]]:
    """The events after one up to another, by their ids, which are in the order of time."""
    after = [AuditEvent.id > UUID(since)] if since is not None else []
    return after + ([AuditEvent.id <= UUID(until)] if until is not None else [])


def _digest_of_events(session: Session, period: list[ColumnElement[bool]], version: int) -> tuple[str, int]:
    """SHA-256 in hex over the columns of the events, one line of JSON each, and how many there are."""
    digest, count = hashlib.sha256(), 0
    columns = [AuditEvent.__table__.c[name] for name in _COLUMNS[version]]
    statement = select(*columns).where(*period).order_by(AuditEvent.id).execution_options(yield_per=_ROWS)
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
