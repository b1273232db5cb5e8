"""What somebody who keeps the tenant's connections should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import url_for

from app.credentials.service import SENTENCES as OF_API_CREDENTIALS
from app.dashboard.connected import Connections, name_of
from app.dashboard.navigation import address_of
from app.dashboard.rendering import plural
from app.identity.models import Membership
from app.payments.service import SENTENCES as OF_PAYMENT_ACCOUNTS
from app.phone_systems.attention import NEW
from app.phone_systems.attention import SENTENCES as OF_PHONE_SYSTEMS

NAMED: Final = 3  # of several with the same trouble


@dataclass(frozen=True)
class Point:
    """Something to look at. action: what is done about it. address: where that is. is_a_step: whether the steps of a
    tenant without calls say it, too."""

    text: str
    action: str
    address: str
    is_a_step: bool = False


def points(me: Membership, others: Sequence[str], connections: Connections) -> list[Point]:
    """All there is to look at, the most pressing first: one point for each kind of trouble.

    me: an owner or admin, who is shown it. others: whom else it concerns that they sign in with a password alone, by
    their e-mail addresses.
    """
    return [
        *_of_phone_systems(connections),
        *_of("payment_accounts_pages", connections.payment_accounts, OF_PAYMENT_ACCOUNTS, connections),
        *_of("api_credentials_pages", connections.api_credentials, OF_API_CREDENTIALS, connections),
        *_of_second_factors(me, others),
    ]


def _of_phone_systems(connections: Connections) -> Iterator[Point]:
    place = "phone_systems_pages"
    if not connections.phone_systems:
        yield Point("No phone system is connected: no calls come in.", "Connect one", url_for(f"{place}.create"), True)
    yield from _of(place, connections.phone_systems, OF_PHONE_SYSTEMS, connections)


def _of(place: str, rows: Sequence[Any], sentences: Sequence[str], connections: Connections) -> Iterator[Point]:
    """A point for each sentence that is true of any row. place: the blueprint of their pages."""
    for sentence in sentences:
        found = [row for row in rows if sentence in connections.needed[row.id]]
        if found:
            text = f"{_listed([name_of(row) for row in found])}: {sentence}"
            action, id = ("Look at it", found[0].id) if len(found) == 1 else ("Look at them", None)
            yield Point(text, action, address_of(place, id), sentence == NEW)


def _of_second_factors(me: Membership, others: Sequence[str]) -> Iterator[Point]:
    if not me.user.has_second_factor:
        text = "You sign in with a password alone, without a second factor."
        yield Point(text, "Turn it on", url_for("account_pages.show_second_factor"), True)
    if others:
        verb = "signs" if len(others) == 1 else "sign"
        text = f"{_listed(others)} may change secrets, but {verb} in without a second factor."
        yield Point(text, "See the team", address_of("team_pages"))


def _listed(names: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``, ``A, B, C and 4 others``."""
    shown, more = list(names[:NAMED]), len(names) - NAMED
    if more > 0:
        shown.append(plural(more, "other"))
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
