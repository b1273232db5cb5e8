"""What somebody who keeps the tenant's connections should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.credentials.service import EXPIRES_SOON
from app.dashboard.rendering import plural
from app.dashboard.state import Connections, name_of
from app.identity.models import Membership
from app.phone_systems.attention import trouble

NAMED: Final = 3  # of several with the same trouble


@dataclass(frozen=True)
class Point:
    """Something to look at. action: what is done about it. place: the blueprint of the pages where that is; id: of what
    it is about, where that is one thing alone."""

    text: str
    action: str
    place: str
    id: UUID | None = None


def points(me: Membership, others: Sequence[str], connections: Connections, moment: datetime) -> list[Point]:
    """All there is to look at, the most pressing first: one point for each kind of trouble.

    me: an owner or admin, who is shown it. others: whom else it concerns that they sign in with a password alone, by
    their e-mail addresses. moment: now, aware.
    """
    return [
        *_of_phone_systems(connections, moment),
        *_of_payment_accounts(connections.payment_accounts),
        *_of_api_credentials(connections.api_credentials, moment),
        *_of_second_factors(me, others),
    ]


def _of_phone_systems(connections: Connections, moment: datetime) -> Iterator[Point]:
    place: str = "phone_systems_pages"
    rows: Sequence[Any] = connections.phone_systems
    if not rows:
        yield Point("No phone system is connected: no calls come in.", "Connect one", place)
    found = {row.id: trouble(row, connections.health.get(row.id), moment) for row in rows}
    for kind, texts in _TROUBLES.items():
        yield from _about([row for row in rows if found[row.id] == kind], *texts, place)
    texts = "has an address, but no password to sign in there.", "have addresses, but no passwords.", "Enter it"
    yield from _about([row for row in rows if row.base_url and not row.password_set], *texts, place)


# What is said of each trouble: of one, of several, and what to do.
_TROUBLES: Final = {
    "closed": ("has no webhook password: all it delivers is refused.", "have no webhook password.", "Set it"),
    "refused": (
        "was refused: it signs in with a wrong password.",
        "were refused: with wrong passwords.",
        "Check it",
    ),
    "unreadable": (
        "delivers, but not what its kind sends: is the kind right?",
        "deliver, but not what their kinds send.",
        "Check it",
    ),
    "silent": ("has been silent for more than 3 days.", "have been silent for more than 3 days.", "Look at it"),
    "new": ("has not delivered yet.", "have not delivered yet.", "Set it up"),
}


def _of_payment_accounts(rows: Sequence[Any]) -> Iterator[Point]:
    without = [row for row in rows if not row.client_secret_set]
    yield from _about(without, "has no client secret.", "have no client secret.", "Enter it", "payment_accounts_pages")


def _of_api_credentials(rows: Sequence[Any], moment: datetime) -> Iterator[Point]:
    place, ends = "api_credentials_pages", [row for row in rows if row.expires_at is not None]
    expired = [row for row in ends if row.expires_at <= moment]
    soon = [row for row in ends if moment < row.expires_at <= moment + EXPIRES_SOON]
    without = [row for row in rows if not row.secret_set]
    yield from _about(expired, "has expired.", "have expired.", "Replace it", place)
    yield from _about(soon, "expires within 30 days.", "expire within 30 days.", "Replace it", place)
    yield from _about(without, "has no secret.", "have no secret.", "Enter it", place)


def _of_second_factors(me: Membership, others: Sequence[str]) -> Iterator[Point]:
    if not me.user.has_second_factor:
        yield Point("You sign in with a password alone, without a second factor.", "Turn it on", "account_pages")
    if others:
        verb = "signs" if len(others) == 1 else "sign"
        text = f"{_listed(others)} may change secrets, but {verb} in without a second factor."
        yield Point(text, "See the team", "team_pages")


def _about(rows: Sequence[Any], one: str, several: str, action: str, place: str) -> Iterator[Point]:
    """One point for all of these rows, if there are any."""
    if rows:
        names, alone = _listed([name_of(row) for row in rows]), len(rows) == 1
        yield Point(f"{names} {one if alone else several}", action, place, rows[0].id if alone else None)


def _listed(names: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``, ``A, B, C and 4 others``."""
    shown, more = list(names[:NAMED]), len(names) - NAMED
    if more > 0:
        shown.append(plural(more, "other"))
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
