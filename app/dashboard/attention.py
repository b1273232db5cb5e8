"""What somebody who keeps the tenant's connections should look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.credentials.models import ApiCredential
from app.dashboard.connections import Connections, name_of
from app.dashboard.rendering import plural
from app.identity.models import Membership, Role
from app.tenants import team

SILENT_AFTER: Final = timedelta(hours=24)
REFUSED_LATELY: Final = timedelta(hours=24)
EXPIRES_SOON: Final = timedelta(days=30)
NAMED: Final = 3  # of several with the same trouble


@dataclass(frozen=True)
class Point:
    """Something to look at. action: what is done about it. place: the blueprint of the pages where that is; id: of what
    it is about, where that is one thing alone."""

    text: str
    action: str
    place: str
    id: UUID | None = None


def points(session: Session, me: Membership, connections: Connections, moment: datetime) -> list[Point]:
    """All there is to look at, the most pressing first: one point for each kind of trouble.

    me: an owner or admin, who is shown it. moment: now, aware.
    """
    others = team.keepers_without_second_factor(session, me.tenant_id, me.id) if me.role == Role.OWNER else []
    return [
        *_of_phone_systems(connections, moment),
        *_of_payment_accounts(connections),
        *_of_api_credentials(connections, moment),
        *_of_second_factors(me, others),
    ]


def _of_phone_systems(connections: Connections, moment: datetime) -> Iterator[Point]:
    place, rows, health = "phone_systems_pages", connections.phone_systems, connections.health
    if not rows:
        yield Point("No phone system is connected: no calls come in.", "Connect one", place)

    def refused(row: Any) -> bool:
        refusal = health[row.id].last_refusal if row.id in health else None
        return refusal is not None and moment - refusal.last_at < REFUSED_LATELY

    def silent(row: Any) -> bool:
        delivered = health[row.id].last_delivery_at if row.id in health else None
        return delivered is not None and moment - delivered > SILENT_AFTER

    def new(row: Any) -> bool:
        return row.webhook_password_set and row.id in health and health[row.id].last_delivery_at is None

    def unreachable(row: Any) -> bool:
        return row.base_url is not None and not row.password_set

    texts = "has no webhook password: all it delivers is refused.", "have no webhook password and are refused."
    yield from _about(rows, lambda row: not row.webhook_password_set, *texts, "Set it", place)
    texts = (
        "was refused lately: what it signs in with is wrong.",
        "were refused lately: what they sign in with is wrong.",
    )
    yield from _about(rows, refused, *texts, "Check it", place)
    texts = "has delivered nothing for more than 24 hours.", "have delivered nothing for more than 24 hours."
    yield from _about(rows, silent, *texts, "Check it", place)
    yield from _about(rows, new, "has not delivered yet.", "have not delivered yet.", "Set it up", place)
    texts = "has an address, but no password to sign in there.", "have addresses, but no passwords to sign in there."
    yield from _about(rows, unreachable, *texts, "Enter it", place)


def _of_payment_accounts(connections: Connections) -> Iterator[Point]:
    texts = "has no client secret.", "have no client secret."
    rows, place = connections.payment_accounts, "payment_accounts_pages"
    yield from _about(rows, lambda row: not row.client_secret_set, *texts, "Enter it", place)


def _of_api_credentials(connections: Connections, moment: datetime) -> Iterator[Point]:
    rows, place = connections.api_credentials, "api_credentials_pages"

    def expired(row: ApiCredential) -> bool:
        return row.expires_at is not None and row.expires_at <= moment

    def soon(row: ApiCredential) -> bool:
        return row.expires_at is not None and moment < row.expires_at <= moment + EXPIRES_SOON

    yield from _about(rows, expired, "has expired.", "have expired.", "Replace it", place)
    yield from _about(rows, soon, "expires within 30 days.", "expire within 30 days.", "Replace it", place)
    yield from _about(rows, lambda row: not row.secret_set, "has no secret.", "have no secret.", "Enter it", place)


def _of_second_factors(me: Membership, others: Sequence[str]) -> Iterator[Point]:
    if not me.user.has_second_factor:
        yield Point("You sign in with a password alone, without a second factor.", "Turn it on", "account_pages")
    if others:
        verb = "signs" if len(others) == 1 else "sign"
        text = f"{_listed(others)} may change secrets, but {verb} in without a second factor."
        yield Point(text, "See the team", "team_pages")


def _about(
    rows: Sequence[Any], is_meant: Callable[[Any], bool], one: str, several: str, action: str, place: str
) -> Iterator[Point]:
    """One point for all rows that are meant."""
    found = [row for row in rows if is_meant(row)]
    if found:
        names, alone = _listed([name_of(row) for row in found]), len(found) == 1
        yield Point(f"{names} {one if alone else several}", action, place, found[0].id if alone else None)


def _listed(names: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``, ``A, B, C and 4 others``."""
    shown, more = list(names[:NAMED]), len(names) - NAMED
    if more > 0:
        shown.append(plural(more, "other"))
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
