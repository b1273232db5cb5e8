"""Taking over the rows of another application, one after the other.

A row becomes one of ours through the service that the API uses, in one transaction with its event. Its id is made of
where it comes from, so that a second run, also one after the first was killed, knows it again. What was stored is read
back and opened before anything is blanked in the source.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.adoption.report import Counts, Failure, shown_key
from app.adoption.rows import Part, Refused, Row
from app.adoption.sources import NotBlanked
from app.audit import service as audit
from app.encryption import EncryptionError
from app.encryption.adoption import NotAdoptable
from app.errors import Invalid, MadeAlready, NotFound, Problem
from app.identity.authentication import memberships_of
from app.identity.users import canonical_email, find_user, get_tenant
from app.integrations.service import Integrations
from app.pagination import PageQuery
from app.tenancy import tenant_scope
from app.tenants import service as tenants

EVENTS_AT_A_TIME: Final = 200


@dataclass
class Takeover:
    """Everything here is to be called in the system's scope, and commits row by row.

    source: what the mapping calls it. blank: empty in the source what is stored here. on_row: called with 1 after each
    row. on_failure: called with what could not be done.
    """

    session: Session
    source: str
    dry_run: bool
    blank: bool
    on_row: Callable[[int], None]
    on_failure: Callable[[Failure], None]
    would_be_made: set[str] = field(default_factory=set)  # subdomains of tenants, in a dry run
    refused: set[str] = field(default_factory=set)  # and of those that were not taken over

    def run(self, part: Part) -> Counts:
        """Take over one section. Raises :class:`~app.adoption.sources.SourceFailed`."""
        counts = Counts(part.label)
        work = _Tenants(self, part) if part.kind.integrations is None else _Owned(self, part, part.kind.integrations)
        for key in part.source.each_key():
            self._take_over(work, part, key, counts)
            counts.rows += 1
            self.on_row(1)
        return counts

    def _take_over(self, work: _Tenants | _Owned, part: Part, key: object, counts: Counts) -> None:
        try:
            record = part.source.read(key)
            outcome = "gone" if record is None else work.take_over(Row(part, key, record))
            counts.add(outcome)
        except NotAdoptable as refusal:
            counts.failed += 1
            self._fail(part, key, "", refusal.reason)
        except Refused as refusal:
            counts.failed += 1
            for name, reason in refusal.reasons:
                self._fail(part, key, name, reason)
        except Problem as refusal:  # of a service
            counts.failed += 1
            for error in refusal.errors or [{"field": "", "message": refusal.detail}]:
                self._fail(part, key, error["field"], error["message"])
        else:
            if self.blank and record is not None and isinstance(work, _Owned):
                self._blank(work, Row(part, key, record), outcome, counts)
        finally:
            self.end()

    def _blank(self, work: _Owned, row: Row, outcome: str, counts: Counts) -> None:
        try:
            counts.blanked += outcome in ("adopted", "already") and work.blank(row, outcome)
        except NotBlanked as refusal:
            counts.not_blanked += 1
            self._fail(row.part, row.key, "", f"is stored here, but {refusal.reason}")

    def _fail(self, part: Part, key: object, name: str, reason: str) -> None:
        text, secret = part.section.texts().get(name), part.section.secrets().get(name)
        columns = text.columns if text is not None else [secret.column] if secret is not None else []
        self.on_failure(Failure(part.label, part.source.place, shown_key(key), name, columns, reason))

    def end(self) -> None:
        """End the transaction, and forget what it has read: on SQLite who only reads holds up whoever writes."""
        self.session.rollback()
        self.session.expunge_all()


class _Tenants:
    """A section that makes tenants."""

    def __init__(self, run: Takeover, part: Part) -> None:
        self.run, self.told_twice = run, _told_twice(part)

    def take_over(self, row: Row) -> str:
        """What became of the row: the name of a count. An owner who has no account sets a password by mail. Raises
        Refused and :class:`~app.errors.Problem`."""
        subdomain = row.text("subdomain")
        try:
            values = {"time_zone": "UTC"} | row.checked(row.texts())
            _refuse_told_twice(row, self.told_twice)
            if tenants.subdomain_taken(self.run.session, values["subdomain"]):
                self._require_the_same(values)
                return "already"
            self._make(values)
        except (Refused, Problem):
            self.run.refused.add(subdomain)
            raise
        return "adopted"

    def _require_the_same(self, values: Mapping[str, Any]) -> None:
        """The subdomain may be another company's here, which is to get nobody else's secrets. Raises Refused and
        Problem."""
        session, subdomain = self.run.session, values["subdomain"]
        owner = find_user(session, values["owner_email"])
        of_owner = memberships_of(session, owner.id) if owner is not None else []
        is_known = subdomain in {choice.subdomain for choice in of_owner}
        if not is_known and get_tenant(session, subdomain).name != values["name"]:
            raise Refused(("subdomain", "another tenant has it here, with another name and without this owner"))

    def _make(self, values: Mapping[str, Any]) -> None:
        if self.run.dry_run:
            tenants.checked_tenant(values["name"], values["subdomain"], values["time_zone"])
            canonical_email(values["owner_email"])
            self.run.would_be_made.add(values["subdomain"])
        else:
            tenants.create_tenant(self.run.session, **values, read_password=lambda: secrets.token_urlsafe(32))


class _Owned:
    """A section that makes rows of tenants."""

    def __init__(self, run: Takeover, part: Part, integrations: Integrations[Any]) -> None:
        self.run, self.integrations, self.told_twice = run, integrations, _told_twice(part)
        self.deleted = _adopted_and_deleted(run.session, integrations)

    def take_over(self, row: Row) -> str:
        """What became of the row: the name of a count. Raises Refused."""
        if row.part.section.secrets() and not row.columns():
            return "empty"
        tenant_id, row_id = self._tenant_id(row), self._row_id(row)
        if row_id in self.deleted:
            return "deleted"
        if tenant_id is not None and self._find(tenant_id, row_id) is not None:
            return "already"
        opened = row.secrets()
        values = row.checked(row.texts() | opened)
        self.run.end()
        if not self.run.dry_run and tenant_id is not None:
            self._make(tenant_id, row_id, values)
            self._require_same(tenant_id, row_id, opened)
        return "adopted"

    def blank(self, row: Row, outcome: str) -> bool:
        """Whether there was something to blank. Raises NotBlanked."""
        if not row.columns():
            return False
        try:
            if not (self.run.dry_run and outcome == "adopted"):
                tenant_id = self._tenant_id(row)
                assert tenant_id is not None, "a row that is there has its tenant"
                self._require_same(tenant_id, self._row_id(row), row.secrets())
        except Refused as refusal:
            raise NotBlanked(f"was not blanked: its secret {refusal.reasons[0][1]}") from None
        self.run.end()
        if not self.run.dry_run:
            row.part.source.blank(row.key, row.record, row.columns())
        return True

    def _tenant_id(self, row: Row) -> UUID | None:
        """None for a tenant that a dry run has not made. Raises Refused."""
        _refuse_told_twice(row, self.told_twice)
        subdomain = row.text("tenant")
        if subdomain in self.run.refused:
            raise Refused(("tenant", "this tenant was not taken over, as was told above"))
        if subdomain in self.run.would_be_made:
            return None
        try:
            return get_tenant(self.run.session, subdomain).id
        except NotFound:
            raise Refused(("tenant", "there is no tenant with this subdomain here: make it first")) from None

    def _row_id(self, row: Row) -> UUID:
        return row_id_of(self.run.source, row.part.label, row.key)

    def _find(self, tenant_id: UUID, row_id: UUID) -> Any:
        with tenant_scope(tenant_id):
            return next(iter(self.integrations.find(self.run.session, tenant_id, [row_id])), None)

    def _make(self, tenant_id: UUID, row_id: UUID, values: Mapping[str, Any]) -> None:
        with tenant_scope(tenant_id):
            try:
                self.integrations.create(self.run.session, tenant_id, values, row_id)
                return
            except Invalid as invalid:  # such as a secret that a phone system cannot have made
                raise Refused(*((error["field"], error["message"]) for error in invalid.errors or ())) from None
            except MadeAlready:
                if self._find(tenant_id, row_id) is not None:  # by another run, at this moment
                    return
        if self.run.session.get(self.integrations.model, row_id) is not None:
            raise Refused(("tenant", "the row was adopted before, for another tenant"))
        raise Refused(("", "the database refuses it: was the encryption key retired? See flask encryption status"))

    def _require_same(self, tenant_id: UUID, row_id: UUID, opened: Mapping[str, str]) -> None:
        """Read what is stored, open it, and compare. Raises Refused."""
        self.run.end()
        stored = self._find(tenant_id, row_id)
        for name, text in opened.items():
            try:
                is_same = hmac.compare_digest((getattr(stored, name, None) or "").encode(), text.encode())
            except EncryptionError as error:
                raise Refused((name, error.reason)) from None
            if not is_same:
                raise Refused((name, "differs from what is stored here: it was changed on one of both sides"))


def row_id_of(source: str, label: str, key: object) -> UUID:
    """The id of what a row becomes, the same in every run: a UUIDv8 (RFC 9562, section 5.8) with the time 0, so that
    lists, which go by the time in an id, have it before all that is made here."""
    text = json.dumps([source, label, key.hex() if isinstance(key, bytes) else str(key)])
    octets = bytearray(bytes(6) + hashlib.sha256(text.encode()).digest()[:10])
    octets[6], octets[8] = 0x80 | octets[6] & 0x0F, 0x80 | octets[8] & 0x3F
    return UUID(bytes=bytes(octets))


def _told_twice(part: Part) -> set[object]:
    """What does not tell a tenant: the subdomain that several rows have where each row is a tenant."""
    text = part.section.texts()[part.whose]
    return set() if text.values is not None or len(text.columns) != 1 else part.source.told_twice(text.columns[0])


def _refuse_told_twice(row: Row, told_twice: set[object]) -> None:
    whose = row.part.whose
    if told_twice and row.record[row.part.section.texts()[whose].columns[0]] in told_twice:
        raise Refused((whose, "several rows have this subdomain: it does not tell whose they are"))


def _adopted_and_deleted(session: Session, integrations: Integrations[Any]) -> set[UUID]:
    """Those of the ids above of which the audit trail says that they were deleted here: nobody wants them back."""
    filters, page = audit.Filters(action=f"{integrations.noun}.deleted"), PageQuery(limit=EVENTS_AT_A_TIME)
    found: set[UUID] = set()
    while True:
        events, following = audit.list_page(session, filters, page)
        found |= {event.object_id for event in events if event.object_id is not None and not event.object_id.int >> 80}
        session.expunge_all()
        if following is None:
            session.rollback()
            return found
        page = PageQuery(limit=EVENTS_AT_A_TIME, cursor=following)
