"""Which secrets existed and were used since some moment: of which tenant, whom to tell, and who must reissue them.

Every table is gone through once, in the order of the tenants' ids, so that no more than one tenant's part is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, select, text

from app.encryption import inventory
from app.extensions import db
from app.identity.models import Role
from app.identity.second_factor import STEP_SECONDS
from app.incident import statements
from app.incident.keys import KeyLife
from app.incident.kinds import KINDS, OF_USERS, SESSIONS
from app.incident.trail import History, Uses, read
from app.mail.models import MailState

ROWS_AT_A_TIME: Final = 500
WRITTEN_TOGETHER: Final = timedelta(minutes=1)  # a change and its event, which have a time each


@dataclass(frozen=True)
class Secret:
    """A secret that was there at some time since the beginning of the report.

    what: in words. column: its public name. row: the id of its row. key_id: what it is under now, None if it is not
    there any more. set_at: since when, None if that is not known. gone_at: when it was replaced, removed or deleted.
    used: whether since the beginning of the report; None if nobody writes that down. used_at: when last. uses: how
    often, where that is counted.
    reissue: who must make a new one, and where.
    """

    what: str
    column: str
    row: UUID
    key_id: str | None
    set_at: datetime | None
    gone_at: datetime | None
    used: bool | None
    used_at: datetime | None
    uses: int | None
    reissue: str


class Addressee(NamedTuple):
    """Somebody who must be told. disabled: cannot sign in, perhaps because of the incident."""

    email: str
    role: str
    disabled: bool


@dataclass(frozen=True)
class Exposed:
    """A tenant that had secrets: tell its owners and admins who can sign in, or would if it were not suspended. Where
    there is no owner among them, the disabled owners, too: the account that was taken over is somebody's."""

    id: UUID
    name: str
    subdomain: str
    suspended: bool
    tell: list[Addressee]
    secrets: list[Secret]


class _ByTenant:
    """Rows that come in the order of their tenants' ids, the first of their columns."""

    def __init__(self, rows: Iterable[Row[Any]]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)

    def of(self, tenant_id: UUID) -> Iterator[Row[Any]]:
        """Those of a tenant. To be asked for one tenant after the other, and only once for each."""
        while self._next is not None and self._next[0] < tenant_id:
            self._next = next(self._groups, None)
        if self._next is not None and self._next[0] == tenant_id:
            yield from self._next[1]


def exposed(connection: Connection, since: datetime, key: KeyLife | None = None) -> Iterator[Exposed]:
    """The tenants that had secrets at some time since, in the order in which they were made.

    key: only what was ever under it: of a master key the secrets that it has sealed, of a JWT secret the sessions.
    connection: the tables' owner's; it must stay in its transaction meanwhile.
    """
    see_every_row(connection)
    with ExitStack() as results:

        def rows_of(statement: Select[Any]) -> Iterable[Row[Any]]:
            streamed = connection.execute(statement, execution_options={"yield_per": ROWS_AT_A_TIME})
            return results.enter_context(streamed)

        columns = {column.name: column for column in inventory(db.metadata)}
        addressees = _ByTenant(rows_of(statements.addressees()))
        events = _ByTenant(rows_of(statements.events(since)))
        sessions = _ByTenant(rows_of(statements.sessions(since)))
        of_rows = [(name, _ByTenant(rows_of(statements.values(columns[name], since)))) for name in KINDS]
        of_users = [(name, _ByTenant(rows_of(statements.values_of_users(columns[name], since)))) for name in OF_USERS]
        for tenant in rows_of(statements.tenants()):
            history = read(events.of(tenant.id), since)
            there = [_of_row(name, row, history, since) for name, rows in of_rows for row in rows.of(tenant.id)]
            secrets = chain(
                (secret for secret in there if not _is_told_as_gone(secret, history)),
                _gone(history, {(secret.row, secret.column): secret.set_at for secret in there}),
                (_of_user(name, row, since) for name, rows in of_users for row in rows.of(tenant.id)),
                (_session(row) for row in sessions.of(tenant.id)),
            )
            kept = [secret for secret in secrets if key is None or _was_under(key, secret)]
            if kept:
                tell = _to_tell([Addressee(row.email, row.role, row.disabled) for row in addressees.of(tenant.id)])
                suspended = tenant.suspended_at is not None
                yield Exposed(tenant.id, tenant.name, tenant.subdomain, suspended, tell, kept)


def see_every_row(connection: Connection) -> None:
    """Where row-level security would hide rows, make that an error: a tenant that is missing would not be told."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL row_security = off"))


def stored(connection: Connection) -> dict[str, int]:
    """What is no tenant's and of which there is any number, each with how many there are."""
    names = ("mails", "audit_seals", "users", "memberships")
    mails, seals, users, members = (statements.table(name) for name in names)
    queued = select(func.count()).select_from(mails).where(mails.c.state == MailState.QUEUED)
    counts = {
        "mails that are waiting, with their links": queued,
        "seals of the audit trail": select(func.count()).select_from(seals),
        "hashes of users' passwords": select(func.count()).select_from(users),
        "second factors of users of no tenant": select(func.count())
        .select_from(users)
        .where(users.c.totp_secret_key_id.is_not(None), users.c.id.not_in(select(members.c.user_id))),
    }
    return {what: connection.execute(statement).scalar_one() for what, statement in counts.items()}


def _to_tell(people: list[Addressee]) -> list[Addressee]:
    has_owner = any(person.role == Role.OWNER and not person.disabled for person in people)
    return [person for person in people if not person.disabled or (person.role == Role.OWNER and not has_owner)]


def _was_under(key: KeyLife, secret: Secret) -> bool:
    if secret.column == "sessions":
        return key.signs and key.was_in_use(secret.set_at, secret.used_at)
    return key.may_have_sealed(secret.key_id, secret.set_at, secret.gone_at)


def _of_row(name: str, row: Row[Any], history: History, since: datetime) -> Secret:
    """A value that is there, or was removed from its row."""
    kind, values = KINDS[name], row._asdict()
    there = row.key_id is not None
    uses = history.used(row.id, name, row.changed_at if there else None)
    first = row.used_at if there and row.used_at is not None and row.used_at >= since else None
    used_at = (uses + Uses(0, first)).last
    return Secret(
        what=kind.called(values),
        column=name,
        row=row.id,
        key_id=row.key_id,
        set_at=row.changed_at if there else None,
        gone_at=None if there else row.changed_at,
        used=used_at is not None,
        used_at=used_at,
        uses=None if name == "api_keys.token_hash" else uses.count,
        reissue=kind.reissued_by(values),
    )


def _is_told_as_gone(secret: Secret, history: History) -> bool:
    """Whether a value that was removed is in the trail, too."""
    gone = history.gone.get((secret.row, secret.column))
    return gone is not None and secret.gone_at is not None and secret.gone_at <= gone.gone_at + WRITTEN_TOGETHER


def _gone(history: History, current: Mapping[tuple[UUID, str], datetime | None]) -> Iterator[Secret]:
    """Values that were replaced by others, removed, or went with their row. current: since when there is the one that
    there is now."""
    for (row, name), gone in history.gone.items():
        since = current.get((row, name))
        uses = history.used(row, name, None) if since is None else history.used_before(row, name, since)
        is_counted = name != "api_keys.token_hash"
        number = f"{gone.count} earlier values: " if gone.count > 1 else "" if gone.deleted else "earlier value: "
        yield Secret(
            what=f"{number}{gone.called}",
            column=name,
            row=row,
            key_id=None,
            set_at=gone.set_at,
            gone_at=gone.gone_at,
            used=uses.last is not None if is_counted else None,
            used_at=uses.last,
            uses=uses.count if is_counted else None,
            reissue=gone.reissue,
        )


def _of_user(name: str, row: Row[Any], since: datetime) -> Secret:
    what, reissue = OF_USERS[name]
    there = row.key_id is not None
    is_noted = name == "users.totp_secret" and there
    step = row.totp_used_step if is_noted else None
    used_at = None if step is None else datetime.fromtimestamp(step * STEP_SECONDS, UTC)
    used = used_at is not None and used_at >= since
    return Secret(
        what=f"{what} {row.email}",
        column=name,
        row=row.id,
        key_id=row.key_id,
        set_at=row.changed_at if there else None,
        gone_at=None if there else row.changed_at,
        used=used if is_noted else None,
        used_at=used_at if used else None,
        uses=None,
        reissue=reissue,
    )


def _session(row: Row[Any]) -> Secret:
    what, reissue = SESSIONS
    return Secret(
        what=f"{what} {row.email}",
        column="sessions",
        row=row.id,
        key_id=None,
        set_at=row.started_at,
        gone_at=None,
        used=True,
        used_at=row.used_at,
        uses=row.sessions,
        reissue=reissue,
    )
