"""Deliveries of phone systems that have signed in, but bring what is not understood: the newest of each are kept, for
its owners and admins to see what it sends and why that was refused.

What is kept is bounded, however much comes: 20 of each phone system, the beginning of each, and no more than one in a
second. The audit trail counts all of them. The body may hold anything, people's numbers and names at least: so it is
encrypted, and that somebody read it is an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from limits import RateLimitItem, RateLimitItemPerSecond
from sqlalchemy import ColumnElement, bindparam, delete, func, select
from sqlalchemy.orm import Session, defer

from app.audit import service as audit
from app.audit import tally
from app.errors import NotFound
from app.limits.counting import rate_limiter
from app.pagination import Listing, PageQuery
from app.phone_systems.models import PhoneSystem, UnreadableDelivery
from app.phone_systems.printable import printable, printable_beginning

MOST_KEPT: Final = 20  # of each phone system
MOST_OF_BODY: Final = 16 * 1024  # bytes
MOST_OF_CONTENT_TYPE: Final = 100  # characters
MOST_ERRORS: Final = 100
MOST_OF_FIELD: Final = 255  # characters of a field's name
LARGEST_SIZE: Final = 2**31 - 1  # bytes; whoever states more did not mean it, and the column holds no more
PACE: Final[RateLimitItem] = RateLimitItemPerSecond(1)

_PACED: Final = "KEPT_DELIVERIES"
_GONE: Final[Mapping[str, Any]] = {"errors": [], "body": None, "cut": False}


@dataclass(frozen=True, repr=False)
class Delivered:
    """A delivery that was not understood. body: all of it, or more than 16 KiB of it. size: of the whole body in bytes,
    None where that is not known. reason: in our words, with nothing that was delivered. errors: what is wrong, by
    fields, as :class:`~app.phone_systems.vendors.UnreadableDelivery` has them."""

    content_type: str | None
    body: bytes
    size: int | None
    reason: str
    errors: Sequence[Mapping[str, str]]


@dataclass(frozen=True, repr=False)
class Kept:
    """One that is kept, opened. body: printable; None where the key that it was under was forgotten. cut: whether that
    is only the beginning."""

    id: UUID
    received_at: datetime
    content_type: str | None
    size: int | None
    reason: str
    errors: list[dict[str, str]]
    body: str | None
    cut: bool


def is_due(phone_system_id: UUID) -> bool:
    """Whether one more of the phone system is to be kept now, which this counts as done: of a flood one in a second
    is, by all processes together where there is a Redis, and else by each."""
    return rate_limiter().hit(PACE, _PACED, str(phone_system_id))


def keep(session: Session, tenant_id: UUID, phone_system_id: UUID, delivered: Delivered) -> None:
    """Keep it, let go of those that are one too many, and commit. Nothing is kept of a phone system that was deleted
    meanwhile.

    One at a time for each phone system, so that there are never more than there may be: whoever is about to change
    these rows holds the phone system's row. Call records that are stored meanwhile refer to it, and do not wait.
    """
    if not _hold(session, tenant_id, phone_system_id):
        session.rollback()
        return
    body, cut = printable_beginning(delivered.body, MOST_OF_BODY)
    errors = [
        {"field": printable(error["field"])[:MOST_OF_FIELD], "message": error["message"]}
        for error in delivered.errors[:MOST_ERRORS]
    ]
    row = UnreadableDelivery(
        tenant_id=tenant_id,
        phone_system_id=phone_system_id,
        content_type=printable(delivered.content_type)[:MOST_OF_CONTENT_TYPE] if delivered.content_type else None,
        size=delivered.size if delivered.size is not None and delivered.size <= LARGEST_SIZE else None,
        reason=delivered.reason,
    )
    row.content = {"body": body, "cut": cut, "errors": errors}
    session.add(row)
    session.flush()
    newest = (
        select(UnreadableDelivery.id).where(*_of(tenant_id, phone_system_id)).order_by(UnreadableDelivery.id.desc())
    )
    too_many = UnreadableDelivery.id <= newest.offset(MOST_KEPT).limit(1).scalar_subquery()
    trimmed = delete(UnreadableDelivery).where(*_of(tenant_id, phone_system_id), too_many)
    session.execute(trimmed, execution_options={"synchronize_session": False})
    session.commit()


def list_page(
    session: Session, tenant_id: UUID, phone_system_id: UUID, page: PageQuery
) -> tuple[list[UnreadableDelivery], str | None]:
    """A page of those of a phone system, newest first, without what was in them; and the cursor of the next page or
    None. None of a phone system that is not there."""
    return _LISTING.fetch(session, page, tenant_id=tenant_id, phone_system_id=phone_system_id)


def read(session: Session, tenant_id: UUID, phone_system_id: UUID, delivery_id: UUID) -> Kept:
    """One of them, with what was in it, and the audit trail says who read it.

    Raises :class:`~app.errors.NotFound`, the same for an id that is unknown and for another tenant's, and
    :class:`~app.encryption.EncryptionError` when it cannot be opened.
    """
    wanted = select(UnreadableDelivery).where(*_of(tenant_id, phone_system_id), UnreadableDelivery.id == delivery_id)
    row = session.scalars(wanted).one_or_none()
    if row is None:
        raise NotFound("There is nothing here under this id.")
    kept = Kept(row.id, row.received_at, row.content_type, row.size, row.reason, **(row.content or _GONE))
    details = (("delivery", str(delivery_id)),)
    # Last, as it ends the transaction; and before anything is shown, which it prevents where it cannot be stored.
    tally.count(tally.Kind("delivery.read", audit.SUCCESS, tenant_id, phone_system_id, details))
    return kept


def clear(session: Session, tenant_id: UUID, phone_system_id: UUID) -> int:
    """Delete all of a phone system that are kept, and commit. Returns how many they were.

    Raises :class:`~app.errors.NotFound` where there is no such phone system.
    """
    if not _hold(session, tenant_id, phone_system_id):
        raise NotFound("There is nothing here under this id.")
    wanted = _of(tenant_id, phone_system_id)
    count = session.scalar(select(func.count()).select_from(UnreadableDelivery).where(*wanted)) or 0
    if count:
        session.execute(delete(UnreadableDelivery).where(*wanted), execution_options={"synchronize_session": False})
        audit.record(session, "delivery.cleared", object_id=phone_system_id, details={"deliveries": count})
    session.commit()
    return count


def _hold(session: Session, tenant_id: UUID, phone_system_id: UUID) -> bool:
    """Whether there is such a phone system, which nobody else then keeps or clears deliveries of, nor deletes."""
    wanted = select(PhoneSystem.id).where(PhoneSystem.tenant_id == tenant_id, PhoneSystem.id == phone_system_id)
    return session.scalar(wanted.with_for_update(key_share=True)) is not None


def _of(tenant_id: UUID, phone_system_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return UnreadableDelivery.tenant_id == tenant_id, UnreadableDelivery.phone_system_id == phone_system_id


_LISTING: Final = Listing(
    select(UnreadableDelivery)
    .where(
        UnreadableDelivery.tenant_id == bindparam("tenant_id"),
        UnreadableDelivery.phone_system_id == bindparam("phone_system_id"),
    )
    .options(defer(UnreadableDelivery.content_encrypted, raiseload=True)),
    UnreadableDelivery.id,
)
