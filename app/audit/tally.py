"""What happens by the thousand is added up: a phone system delivers with its webhook password many times a minute, and
whoever guesses, or has lost a token, is refused as often.

The first of its kind in an hour is stored at once, so that nobody waits to see it. Those that follow are counted by the
process, and stored as one event with their number and the first and last time: by a request after the hour is over, or
when the process ends. A process that is killed loses the number, not the fact.

Where storing the first would tell a stranger something, by the time that it takes, that one waits too: for a minute,
and then for a request of somebody who is authenticated. What could not be stored waits for the same. Who looks at what
it is about does not wait: that is stored before they see it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from app.audit.actors import ANONYMOUS, Origin
from app.audit.service import record_at_once
from app.database import now
from app.extensions import db
from app.limits.counting import client_network

log = logging.getLogger(__name__)

PERIOD: Final = timedelta(hours=1)
PATIENCE: Final = timedelta(minutes=1)
# In the memory of a process: of strangers together, and of each tenant's own. Of what is beyond only the action, the
# outcome, the tenant and the actor are kept: no stranger can make a tenant's events nobody's.
MOST_KINDS: Final = 2_000


@dataclass(frozen=True)
class Kind:
    """What is the same in everything that is added up to one event. ``details``: names and values."""

    action: str
    outcome: str
    tenant_id: UUID | None
    object_id: UUID | None = None
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Following:
    """Those after the first, or all where the first waits, too."""

    first: datetime
    last: datetime
    count: int = 1

    def __add__(self, other: _Following) -> _Following:
        return _Following(min(self.first, other.first), max(self.last, other.last), self.count + other.count)


_Key = tuple[Kind, Origin]
_Counted = tuple[Kind, Origin, _Following]


class Tally:
    """Of one process, for an hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._following: dict[_Key, _Following | None] = {}
        self._kinds: Counter[UUID | None] = Counter()
        self._waiting: set[_Key] = set()
        self._begun_at: datetime | None = None
        self._waiting_since: datetime | None = None

    def is_first(self, kind: Kind, origin: Origin) -> bool:
        """Whether it is the first in this hour, which its maker stores, or lets wait. Others are counted."""
        with self._lock:
            key = self._key(kind, origin)
            if key in self._following:
                self._add(key, _Following(now(), now()))
                return False
            self._mark(key)
            return True

    def let_wait(self, kind: Kind, origin: Origin, counted: _Following) -> None:
        """Count what is to be stored soon."""
        with self._lock:
            key = self._key(kind, origin)
            if key not in self._following:
                self._mark(key)
            self._add(key, counted)
            self._waiting.add(key)
            self._waiting_since = self._waiting_since or now()

    def take_due(self, *, waiting: bool) -> list[_Counted]:
        """All that was counted, if the hour is over: counting begins anew. Else what waited long enough, if asked."""
        with self._lock:
            if self._begun_at is not None and self._begun_at + PERIOD < now():
                return self._take_all()
            if waiting and self._waiting_since is not None and self._waiting_since + PATIENCE < now():
                return self._take_waiting()
            return []

    def take_of(self, tenant_id: UUID, actions: Collection[str]) -> list[_Counted]:
        """What was counted of these actions of a tenant."""
        with self._lock:
            keys = {key for key in self._following if key[0].tenant_id == tenant_id and key[0].action in actions}
            return self._take_these(keys)

    def take(self) -> list[_Counted]:
        """All that was counted. From here on counting begins anew."""
        with self._lock:
            return self._take_all()

    def _take_all(self) -> list[_Counted]:
        taken = [(*key, following) for key, following in self._following.items() if following is not None]
        self._begin()
        return taken

    def _take_waiting(self) -> list[_Counted]:
        return self._take_these(self._waiting)

    def _take_these(self, keys: Set[_Key]) -> list[_Counted]:
        """Those that follow in this hour are not the first any more."""
        taken = []
        for key in keys:
            following, self._following[key] = self._following[key], None
            if following is not None:
                taken.append((*key, following))
        self._waiting = self._waiting - keys
        self._waiting_since = self._waiting_since if self._waiting else None
        return taken

    def _key(self, kind: Kind, origin: Origin) -> _Key:
        if (kind, origin) in self._following or self._kinds[_whose(kind, origin)] < MOST_KINDS:
            return kind, origin
        return Kind(kind.action, kind.outcome, kind.tenant_id), Origin(origin.actor)

    def _mark(self, key: _Key) -> None:
        self._following[key] = None
        self._kinds[_whose(*key)] += 1
        self._begun_at = self._begun_at or now()

    def _add(self, key: _Key, counted: _Following) -> None:
        before = self._following[key]
        self._following[key] = before + counted if before is not None else counted


def _whose(kind: Kind, origin: Origin) -> UUID | None:
    """For whom kinds are counted: the tenant that somebody has signed in to, or strangers."""
    return kind.tenant_id if origin.actor != ANONYMOUS else None


def init_app(app: Flask) -> None:
    app.extensions["audit_tally"] = Tally()


def count(kind: Kind, *, at_once: bool = True) -> None:
    """Count one more, by whoever makes the request. at_once: store it, if it is the first in this hour."""
    origin, moment = Origin.now(), now()
    alike = replace(origin, address=client_network(), request_id=None)
    if not _tally().is_first(kind, alike):
        return
    if not at_once:
        _tally().let_wait(kind, alike, _Following(moment, moment))
        return
    try:
        _store(kind, origin, 1, {})
    except SQLAlchemyError:
        _tally().let_wait(kind, alike, _Following(moment, moment))
        raise


def store_due() -> None:
    """Store what is due, in passing. Whoever is not authenticated does not see what waits by the time that it takes."""
    _store_all(_tally().take_due(waiting=Origin.now().actor != ANONYMOUS))


def store_of(tenant_id: UUID, actions: Collection[str]) -> None:
    """Store what was counted of these actions of a tenant: before somebody who may know of it reads anything, because
    what the session holds is rolled back."""
    _store_all(_tally().take_of(tenant_id, actions))


def store_counted() -> None:
    """Store all that was counted."""
    _store_all(_tally().take())


def _store_all(counted: list[_Counted]) -> None:
    """What cannot be stored is kept for the next time, and the log says so. Without a database nothing is tried twice:
    each time takes seconds. The last to happen is stored last, and so is the newest event."""
    counted = sorted(counted, key=lambda one: one[2].last)
    for number, (kind, origin, following) in enumerate(counted):
        times = {"first": following.first.isoformat(), "last": following.last.isoformat()}
        try:
            _store(kind, origin, following.count, times)
        except SQLAlchemyError as error:
            log.error("what was counted is not in the audit trail yet: %s", type(error).__name__)
            is_away = isinstance(error, (OperationalError, NoConnectionFree))
            for kept in counted[number:] if is_away else counted[number : number + 1]:
                _tally().let_wait(*kept)
            if is_away:
                return


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
