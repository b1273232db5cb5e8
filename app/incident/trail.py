"""What the audit trail tells of a tenant's secrets since some moment: which were used, replaced or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from app.incident.kinds import KINDS, Kind

CHANGES: Final = frozenset(
    f"{kind.noun}.{verb}" for kind in KINDS.values() for verb in ("created", "updated", "deleted")
)
ACTIONS: Final = CHANGES | {"secret.used", "webhook_password.rotated"}

_Secret = tuple[UUID, str]  # the row, and the column's public name


@dataclass(frozen=True)
class Uses:
    """How often, and when last."""

    count: int = 0
    last: datetime | None = None

    def __add__(self, other: Uses) -> Uses:
        times = [time for time in (self.last, other.last) if time is not None]
        return Uses(self.count + other.count, max(times, default=None))


@dataclass(frozen=True)
class Gone:
    """The values of a secret that were replaced, or went with their row: how many, since when there was the first of
    them, None where that was before or is not known, and when the last of them went. called, reissue: as
    :class:`~app.incident.kinds.Kind` has them."""

    called: str
    reissue: str
    set_at: datetime | None
    gone_at: datetime
    deleted: bool
    count: int = 1


@dataclass
class History:
    """Of one tenant. ``uses``: of each secret, by the time since when it was that value, as events have it."""

    uses: dict[_Secret, dict[str | None, Uses]] = field(default_factory=dict)
    gone: dict[_Secret, Gone] = field(default_factory=dict)
    # Since when the value is there that there is now; None where there is none. Not in it: it may be older.
    _set_at: dict[_Secret, datetime | None] = field(default_factory=dict)

    def used(self, row: UUID, column: str, set_at: datetime | None) -> Uses:
        """The uses of the value that is there since ``set_at``. Of one without it, every use counts."""
        found = self.uses.get((row, column), {})
        own = None if set_at is None else set_at.isoformat()
        return sum((uses for since, uses in found.items() if None in (since, own) or since == own), Uses())

    def used_before(self, row: UUID, column: str, set_at: datetime) -> Uses:
        """The uses of the values before that one."""
        found, own = self.uses.get((row, column), {}), set_at.isoformat()
        return sum((uses for since, uses in found.items() if since not in (None, own)), Uses())


def read(events: Iterable[Row[Any]], since: datetime) -> History:
    """A tenant's events in the order in which they happened, from ``since`` on or from a little before."""
    history = History()
    for event in events:
        last = _last_time(event)
        if last < since:
            continue
        if event.action == "secret.used":
            key = event.object_id, str(event.details.get("secret"))
            by_value = history.uses.setdefault(key, {})
            value = event.details.get("changed_at")
            by_value[value] = by_value.get(value, Uses()) + Uses(event.number, last)
        elif event.object_id is not None:
            _follow(history, event)
    return history


def _last_time(event: Row[Any]) -> datetime:
    """When it happened; of what was added up, the last time."""
    last = event.details.get("last")
    return event.occurred_at if last is None else datetime.fromisoformat(last)


def _follow(history: History, event: Row[Any]) -> None:
    """What the event made of the values of its row."""
    noun, _, verb = event.action.rpartition(".")
    if event.action == "webhook_password.rotated":
        _replace(history, event, "phone_systems.webhook_password", deleted=False)
        return
    fields = event.details.get("fields", ())
    for column, kind in _of(noun):
        if verb == "created":
            is_set = kind.attribute in fields or noun == "api_key"
            history._set_at[event.object_id, column] = event.occurred_at if is_set else None
        elif verb == "deleted" or kind.attribute in fields:
            _replace(history, event, column, deleted=verb == "deleted")


def _replace(history: History, event: Row[Any], column: str, *, deleted: bool) -> None:
    """A value goes, unless it is known that there was none."""
    key, details = (event.object_id, column), event.details
    if key not in history._set_at or history._set_at[key] is not None:
        kind, set_at = KINDS[column], history._set_at.get(key)
        called, reissue, before = kind.called(details), kind.reissued_by(details), history.gone.get(key)
        first, count = (set_at, 1) if before is None else (before.set_at, before.count + 1)
        history.gone[key] = Gone(called, reissue, first, event.occurred_at, deleted, count)
    history._set_at[key] = None if deleted else event.occurred_at


def _of(noun: str) -> Iterator[tuple[str, Kind]]:
    """The kinds of secrets that a row has, but the previous webhook password: nobody takes one that is gone."""
    kinds: Mapping[str, Kind] = KINDS
    return (
        (column, kind)
        for column, kind in kinds.items()
        if kind.noun == noun and kind.attribute != "previous_webhook_password"
    )
