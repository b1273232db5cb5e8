"""What happens by the thousand is added up: a phone system delivers with its webhook password many times a minute, and
whoever guesses, or has lost a token, is refused as often.

The first of its kind in an hour is stored at once, so that nobody waits to see it. Those that follow are counted by the
process, and stored as one event with their number and the first and last time: by a request after the hour is over, or
when the process ends. A process that is killed loses the number, not the fact.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from app.audit.actors import ANONYMOUS, Origin
from app.audit.service import record_at_once
from app.database import now
from app.extensions import db

log = logging.getLogger(__name__)

PERIOD: Final = timedelta(hours=1)
MOST_KINDS: Final = 2_000  # in the memory of a process; what is beyond is added up regardless of by whom and where


@dataclass(frozen=True)
class Kind:
    """What is the same in everything that is added up to one event. ``details``: names and values."""

    action: str
    outcome: str
    tenant_id: UUID | None
    object_id: UUID | None = None
    details: tuple[tuple[str, str], ...] = ()


@dataclass
class _Following:
    """Those after the first."""

    first: datetime
    last: datetime
    count: int


class Tally:
    """Of one process, for an hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun_at: datetime | None = None
        self._following: dict[tuple[Kind, Origin], _Following | None] = {}

    def is_first(self, kind: Kind, origin: Origin) -> bool:
        """Count one more. Whether it is the first in this hour."""
        key, moment = (kind, origin), now()
        with self._lock:
            if key not in self._following and len(self._following) >= MOST_KINDS:
                key = Kind(kind.action, kind.outcome, None), Origin(ANONYMOUS)
            if key not in self._following:
                self._following[key] = None
                self._begun_at = self._begun_at or moment
                return True
            following = self._following[key]
            if following is None:
                self._following[key] = _Following(moment, moment, 1)
            else:
                following.last, following.count = moment, following.count + 1
            return False

    def is_due(self) -> bool:
        """Whether the hour is over."""
        return self._begun_at is not None and self._begun_at + PERIOD < now()

    def take(self) -> list[tuple[Kind, Origin, _Following]]:
        """What was counted. From here on counting begins anew."""
        with self._lock:
            taken, self._following, self._begun_at = self._following, {}, None
        return [(*key, following) for key, following in taken.items() if following is not None]


def init_app(app: Flask) -> None:
    app.extensions["audit_tally"] = Tally()


def count(kind: Kind) -> None:
    """Count one more, by whoever makes the request: stored at once if it is the first in this hour."""
    origin = Origin.now()
    if _tally().is_first(kind, origin.without_request()):
        _store(kind, origin, 1, {})


def store_counted(*, only_if_due: bool = False) -> None:
    """Store what was counted since. Without a database it is lost, and the log says so."""
    if only_if_due and not _tally().is_due():
        return
    try:
        for kind, origin, following in _tally().take():
            times = {"first": following.first.isoformat(), "last": following.last.isoformat()}
            _store(kind, origin, following.count, times)
    except SQLAlchemyError as error:
        log.error("what was counted is not in the audit trail: %s", type(error).__name__)


def _store(kind: Kind, origin: Origin, count: int, times: dict[str, str]) -> None:
    record_at_once(
        db.session(),
        kind.action,
        tenant_id=kind.tenant_id,
        object_id=kind.object_id,
        outcome=kind.outcome,
        details=dict(kind.details) | times,
        count=count,
        origin=origin,
    )


def _tally() -> Tally:
    return cast(Tally, current_app.extensions["audit_tally"])
