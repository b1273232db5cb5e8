"""How often somebody may fail to sign in to an account, counted in the database: for good, and by all processes.

Guesses at one account are limited wherever they come from. A network from which the account signed in lately has an
allowance of its own, so that a stranger who uses up the common one does not lock the owner out; and whoever sets a new
password by the link that was mailed to the account has one, too.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flask import current_app, request
from sqlalchemy import Integer, bindparam, case, delete, select, tuple_, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.database import now
from app.errors import TooManyRequests
from app.identity.models import Membership, SignInAllowance, User, UserSession
from app.limits import counting
from app.limits.counting import NOWHERE, network_of
from app.limits.limit import Limit
from app.tenancy import current_scope, system_scope

KNOWN: Final = timedelta(days=30)
ANYWHERE: Final = "anywhere"
PASSWORD: Final = "e-mail"  # as it is hashed with the address
CODE: Final = "code"
REMOVED_AT_ONCE: Final = 100

_ALLOWANCES: Final = SignInAllowance.metadata.tables["sign_in_allowances"]


class Attempt:
    """An attempt to sign in to an account (:func:`~app.identity.authentication.account_of`) from an address.

    It counts as a failure until it succeeds: so any number of guesses at the same time are counted before the first of
    them is verified. Codes of the second factor are counted apart: :func:`forgive` is for passwords, or whoever reads
    the account's mail would have any number of guesses at its codes.

    counted: of an attempt that goes on in another request: which allowances it counts for so far, what of and where.
    """

    def __init__(self, account: str, address: str | None, counted: Iterable[tuple[str, str]] = ()) -> None:
        self.account, self._here = account, network_of(address)
        self.counted = list(counted)

    def count(self, session: Session) -> None:
        """Count it, committed. Does the same work whether or not there is such an account.

        Raises :class:`~app.errors.TooManyRequests` when there were too many.
        """
        self._count(session, PASSWORD)

    def count_code(self, session: Session) -> None:
        """Count that it comes with a code of the second factor, for an account that has one. The rest as above."""
        self._count(session, CODE)

    def _count(self, session: Session, kind: str) -> None:
        moment, window, key = now(), _window(), _hash(self.account, kind)
        with system_scope():  # a user's sessions may be in several tenants
            networks = _known_networks(session, self.account, key, moment)
            network = self._here if self._here in networks else ANYWHERE
            self.counted.append((kind, network))
            failures, began_at = _count_failure(session, key, network, moment)
            session.commit()
        if failures > counting.rate(Limit.SIGN_IN_FAILURES).amount:
            what = "wrong codes" if kind == CODE else "attempts to sign in"
            detail = f"Too many {what} of this account: wait before trying again."
            raise TooManyRequests(detail, max(1, round((began_at + window - moment).total_seconds())))

    def succeeded(self, session: Session) -> None:
        """Forget the failures. Not committed: to be called before the session is started that makes the network a known
        one."""
        allowances = [{"account": _hash(self.account, kind), "network": network} for kind, network in self.counted]
        session.connection().execute(_FORGET, allowances)


def forgive(session: Session, account: str, address: str | None) -> None:
    """Forget all wrong passwords, and give ``address`` an allowance of its own: for whoever has set a new password by a
    link that was mailed to the account. Wrong codes of a second factor stay counted. Not committed."""
    key = _hash(account)
    session.execute(delete(_ALLOWANCES).where(_ALLOWANCES.c.account == key))
    connection = session.connection()
    allowance = {"account": key, "network": network_of(address), "failures": 0, "began_at": now()}
    connection.execute(_BEGIN_AGAIN[connection.dialect.name], allowance)


def count_mail(email: str, route: str | None = None) -> None:
    """To be called before a route sends mail to an address that anybody may name, whether or not it is an account's.
    route: the endpoint of another one that sends the same, for both to be counted together.

    Each route counts by itself: who asks for one kind of mail in somebody's name does not keep another from them. So
    does each tenant, for those who are signed in. Raises :class:`~app.errors.TooManyRequests`.
    """
    refusal, scope = "Too many mails to this address: wait before trying again.", current_scope()
    whose = str(scope) if isinstance(scope, UUID) else ""
    counting.count(Limit.RECIPIENT, route or request.endpoint or "", whose, _hash(email), refusal=refusal)


def count_invitation(tenant_id: UUID) -> None:
    """To be called before a tenant sends an invitation, which says what it wants to be called to whomever it likes.
    Raises :class:`~app.errors.TooManyRequests`."""
    refusal = "Your team has sent too many invitations: wait before trying again."
    counting.count(Limit.INVITATIONS, str(tenant_id), refusal=refusal)


def _known_networks(session: Session, account: str, key: str, moment: datetime) -> set[str]:
    """Those with an allowance of their own. One query, also for what cannot exist."""
    parameters = {"email": account, "signed_in_after": moment - KNOWN, "key": key, "began_after": moment - _window()}
    found = set(session.connection().execute(_KNOWN_NETWORKS, parameters).scalars())
    return (found | {network_of(address) for address in found}) - {ANYWHERE, NOWHERE}


def _count_failure(session: Session, key: str, network: str, moment: datetime) -> tuple[int, datetime]:
    """How many there were, with this one, and since when. One statement, which the database carries out one at a time
    for each allowance."""
    connection = session.connection()
    allowance = {"account": key, "network": network, "failures": 1, "began_at": moment}
    parameters = allowance | {"expired_at": moment - _window()}
    failures, began_at = connection.execute(_COUNT_FAILURE[connection.dialect.name], parameters).one()
    return failures, began_at


def remove_expired(session: Session) -> None:
    """A few of anybody's, with each attempt that fails, so that there are never many. Rows that somebody else is at are
    passed over: nobody waits. Not committed."""
    parameters = {"expired_at": now() - _window(), "at_once": REMOVED_AT_ONCE}
    session.connection().execute(_REMOVE_EXPIRED, parameters)


# The statements of every attempt, put together once: that takes longer than the database does.
_SESSIONS: Final = UserSession.metadata.tables["sessions"]
_MEMBERSHIPS: Final = Membership.metadata.tables["memberships"]
_USERS: Final = User.metadata.tables["users"]
_KNOWN_NETWORKS: Final = union(
    select(_SESSIONS.c.address)
    .join_from(_SESSIONS, _MEMBERSHIPS, _MEMBERSHIPS.c.id == _SESSIONS.c.membership_id)
    .join(_USERS, _USERS.c.id == _MEMBERSHIPS.c.user_id)
    .where(_USERS.c.email == bindparam("email"), _SESSIONS.c.started_at > bindparam("signed_in_after")),
    select(_ALLOWANCES.c.network).where(
        _ALLOWANCES.c.account == bindparam("key"), _ALLOWANCES.c.began_at > bindparam("began_after")
    ),
)


def _upsert(insert: Any, **changes: Any) -> Any:
    return insert.on_conflict_do_update(index_elements=["account", "network"], set_=changes)


def _count_one(insert: Any) -> Any:
    expired = _ALLOWANCES.c.began_at <= bindparam("expired_at")
    counted = _upsert(
        insert,
        failures=case((expired, 1), else_=_ALLOWANCES.c.failures + 1),
        began_at=case((expired, insert.excluded.began_at), else_=_ALLOWANCES.c.began_at),
    )
    return counted.returning(_ALLOWANCES.c.failures, _ALLOWANCES.c.began_at)


def _begin_again(insert: Any) -> Any:
    return _upsert(insert, failures=insert.excluded.failures, began_at=insert.excluded.began_at)


_INSERT: Final[dict[str, Any]] = {"postgresql": postgresql.insert(_ALLOWANCES), "sqlite": sqlite.insert(_ALLOWANCES)}
_COUNT_FAILURE: Final = {dialect: _count_one(insert) for dialect, insert in _INSERT.items()}
_BEGIN_AGAIN: Final = {dialect: _begin_again(insert) for dialect, insert in _INSERT.items()}

_FORGET: Final = delete(_ALLOWANCES).where(
    _ALLOWANCES.c.account == bindparam("account"), _ALLOWANCES.c.network == bindparam("network")
)

_EXPIRED: Final = (
    select(_ALLOWANCES.c.account, _ALLOWANCES.c.network)
    .where(_ALLOWANCES.c.began_at <= bindparam("expired_at"))
    .limit(bindparam("at_once", type_=Integer()))
    .with_for_update(skip_locked=True)
    .cte()  # chosen once: as a plain subquery PostgreSQL may choose again for each row, and remove more
)
_REMOVE_EXPIRED: Final = delete(_ALLOWANCES).where(
    tuple_(_ALLOWANCES.c.account, _ALLOWANCES.c.network).in_(select(_EXPIRED.c.account, _EXPIRED.c.network))
)


def _window() -> timedelta:
    return timedelta(seconds=counting.rate(Limit.SIGN_IN_FAILURES).get_expiry())


def _hash(email: str, kind: str = PASSWORD) -> str:
    """What stands for an e-mail address, whether or not it is a user's: the storage need not know who our users are."""
    key: bytes = current_app.config["SECRET_KEY"]
    return hmac.digest(key, f"{kind}/{email}".encode("utf-8", "surrogatepass"), "sha256").hex()
