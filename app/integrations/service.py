"""What phone systems, payment accounts and API credentials have in common: a tenant's own rows with one secret that is
sent somewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import bindparam, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.actors import Origin
from app.database import uuid7
from app.errors import MadeAlready, NotFound, OutdatedVersion
from app.integrations.models import Integration
from app.pagination import Listing, PageQuery

T = TypeVar("T", bound=Integration)


@dataclass(frozen=True)
class Notice:
    """Something that a change brought with it and that its sender should know."""

    field: str
    message: str


class Integrations(Generic[T]):
    """One kind of integration. Every method sees the rows of the one tenant that it is given.

    noun: what the audit trail calls one. named_by: the attributes that people tell one by. secret: the encrypted
    attribute that is sent somewhere. sent_to: the attributes that say where. secrets: every encrypted attribute that
    people set, of each of which the row says who did. guarded: secrets and where one is sent: whoever changes one of
    them has to have proved lately who they are.
    """

    def __init__(
        self, model: type[T], noun: str, *, secret: str, sent_to: Sequence[str], named_by: Sequence[str] = ("name",)
    ) -> None:
        self.model, self.noun, self.secret, self.sent_to, self.named_by = model, noun, secret, sent_to, named_by
        self._listing = Listing(select(model).where(model.tenant_id == bindparam("tenant_id")), model.id)
        stored = [column.key.rpartition("_changed_by") for column in inspect(model).columns]
        self.secrets = frozenset(attribute for attribute, is_secret, _ in stored if is_secret)
        self.guarded = self.secrets | set(sent_to)

    def create(self, session: Session, tenant_id: UUID, values: Mapping[str, Any], row_id: UUID | None = None) -> T:
        """A new row with the attributes ``values``. row_id: its id, drawn lately; without one it gets one.

        Raises :class:`~app.errors.MadeAlready` where there is a row with that id.
        """
        row = self.model(**values)
        row.id, row.tenant_id = row_id or uuid7(), tenant_id
        self.note_who(row, values)
        session.add(row)
        try:
            session.flush()
        except IntegrityError as error:
            if row_id is None:
                raise
            session.rollback()
            raise MadeAlready() from error
        self._record(session, row, "created", values)
        session.commit()
        return row

    def list_page(self, session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[T], str | None]:
        """A page of the rows, newest first, and the cursor of the next page or None."""
        return self._listing.fetch(session, page, tenant_id=tenant_id)

    def get(self, session: Session, tenant_id: UUID, row_id: UUID, *, to_change: bool = False) -> T:
        """The row with that id; with ``to_change`` as it is now, also where it was read before, and nobody else changes
        it until the transaction ends.

        Raises :class:`~app.errors.NotFound`, the same for an id that is unknown and for another tenant's.
        """
        statement = select(self.model).where(self.model.tenant_id == tenant_id, self.model.id == row_id)
        if to_change:
            statement = statement.with_for_update(of=self.model).execution_options(populate_existing=True)
        row = session.scalars(statement).one_or_none()
        if row is None:
            raise NotFound("There is nothing here under this id.")
        return row

    def find(self, session: Session, tenant_id: UUID, ids: Collection[UUID]) -> list[T]:
        """The rows with these ids; those that there are none with are left out."""
        wanted = select(self.model).where(self.model.tenant_id == tenant_id, self.model.id.in_(ids))
        return list(session.scalars(wanted)) if ids else []

    def _get_to_change(self, session: Session, tenant_id: UUID, row_id: UUID, version: int | None) -> T:
        row = self.get(session, tenant_id, row_id, to_change=True)
        if version not in (None, row.version):
            raise OutdatedVersion()
        return row

    def update(
        self, session: Session, tenant_id: UUID, row_id: UUID, changes: Mapping[str, Any], version: int | None = None
    ) -> tuple[T, list[Notice]]:
        """The row with the attributes ``changes`` set, and what their sender should know.

        version: the one that the sender read, or None for whichever it is.

        A stored secret was entered for where it is sent: changing that removes it, with a notice, unless ``changes``
        has it again. Raises :class:`~app.errors.NotFound` and, for another version, :class:`~app.errors.Conflict`.
        """
        row = self._get_to_change(session, tenant_id, row_id, version)
        notices = self.removed_with(row, changes) if changes else []
        values = {**changes, **{notice.field: None for notice in notices}}
        self.note_who(row, values)
        for name, value in values.items():
            setattr(row, name, value)
        if changes:
            self._record(session, row, "updated", values)
        session.commit()
        return row, notices

    def removed_with(self, row: T, changes: Mapping[str, Any]) -> list[Notice]:
        """Which secrets of the row have to go with these changes, and why."""
        moved = [name for name in self.sent_to if name in changes and changes[name] != getattr(row, name)]
        if not moved or self.secret in changes or not getattr(row, f"{self.secret}_set"):
            return []
        return [Notice(self.secret, f"was removed, because {' and '.join(moved)} changed: enter it again")]

    def note_who(self, row: T, values: Mapping[str, Any]) -> None:
        """Note in the row who it is that sets, replaces or removes secrets with these values."""
        for name in self.secrets & values.keys():
            if values[name] is not None or getattr(row, f"{name}_set"):
                setattr(row, f"{name}_changed_by", Origin.now().actor.known_as)

    def delete(self, session: Session, tenant_id: UUID, row_id: UUID, version: int | None = None) -> None:
        """Raises :class:`~app.errors.NotFound` and, for another ``version``, :class:`~app.errors.Conflict`."""
        row = self._get_to_change(session, tenant_id, row_id, version)
        self.detach(session, row)
        session.delete(row)
        self._record(session, row, "deleted")
        session.commit()

    def _record(self, session: Session, row: T, verb: str, fields: Iterable[str] = ()) -> None:
        """Which fields were set, and no value but what people call it."""
        details: dict[str, Any] = {"fields": sorted(fields)} if fields else {}
        audit.record(session, f"{self.noun}.{verb}", object_id=row.id, details=self.named(row) | details)

    def named(self, row: T) -> dict[str, str]:
        """For the audit trail, what people call it: the row may be gone when somebody reads that."""
        return {name: getattr(row, name) for name in self.named_by}

    def detach(self, session: Session, row: T) -> None:
        """Part what outlives the row from it, before it is deleted. Not committed here."""
