"""Recording what happens, and reading it.

    audit.record(session, "phone_system.created", object_id=row.id, details={"name": row.name})
    session.commit()

An event is stored in the transaction of the change that it is about: either both are, or neither. Once it is stored,
the same event goes to the log, as one line. Details hold what an auditor needs, and never a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, event, insert, select
from sqlalchemy.orm import Session

from app.audit.actors import Origin
from app.audit.models import AuditEvent
from app.database import now, uuid7
from app.extensions import db
from app.metrics.counted import counted
from app.pagination import Listing, PageQuery
from app.tenancy import current_scope, system_scope, tenant_scope

log = logging.getLogger("app.audit")

SUCCESS: Final = "success"
REFUSED: Final = "refused"

_INSERT: Final = insert(AuditEvent.metadata.tables["audit_events"])
_RECORDED: Final = "audit events"  # in Session.info: those that the log gets after the commit


def record(
    session: Session,
    action: str,
    *,
    object_id: UUID | None = None,
    outcome: str = SUCCESS,
    details: Mapping[str, Any] | None = None,
    tenant_id: UUID | None = None,
    count: int = 1,
    origin: Origin | None = None,
) -> None:
    """Store an event in the session's transaction: it is committed with whatever it is about.

    action: ``<noun>.<verb in the past>``. object_id: of that noun.
    tenant_id: whose event it is, where that is not the scope's tenant; None there for nobody's in particular.
    origin: where that is not who does what is being done now.
    """
    scope, origin = current_scope(), origin or Origin.now()
    values = {
        "id": uuid7(),
        "tenant_id": scope if isinstance(scope, UUID) else tenant_id,
        "occurred_at": now(),
        "action": action,
        "outcome": outcome,
        "actor_type": origin.actor.type,
        "actor_id": origin.actor.id,
        "actor_name": origin.actor.name,
        "object_id": object_id,
        "address": origin.address,
        "request_id": origin.request_id,
        "count": count,
        "details": dict(details or {}),
    }
    session.connection().execute(_INSERT, values)  # past the ORM: it comes with every change, and takes half the time
    session.info.setdefault(_RECORDED, []).append(values)


def record_at_once(
    session: Session,
    action: str,
    *,
    tenant_id: UUID | None,
    object_id: UUID | None = None,
    outcome: str = SUCCESS,
    details: Mapping[str, Any] | None = None,
    count: int = 1,
    origin: Origin | None = None,
) -> None:
    """Store an event that comes with no change, such as a refusal. What the session still holds is rolled back."""
    session.rollback()
    with tenant_scope(tenant_id) if tenant_id is not None else system_scope():  # nobody's event is the system's
        record(session, action, object_id=object_id, outcome=outcome, details=details, count=count, origin=origin)
        session.commit()


@dataclass(frozen=True)
class Filters:
    """Which events are asked for: those that fit all that is not None. ``since`` is included, ``until`` is not."""

    action: str | None = None
    outcome: str | None = None
    actor_id: UUID | None = None
    object_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_page(session: Session, filters: Filters, page: PageQuery) -> tuple[list[AuditEvent], str | None]:
    """A page of the scope's events, newest first, and the cursor of the next page or None."""
    return Listing(select(AuditEvent).where(*_criteria(filters)), AuditEvent.id).fetch(session, page)


def _criteria(filters: Filters) -> list[ColumnElement[bool]]:
    equal = {
        AuditEvent.action: filters.action,
        AuditEvent.outcome: filters.outcome,
        AuditEvent.actor_id: filters.actor_id,
        AuditEvent.object_id: filters.object_id,
    }
    criteria: list[ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if filters.since is not None:
        criteria.append(AuditEvent.occurred_at >= filters.since)
    if filters.until is not None:
        criteria.append(AuditEvent.occurred_at < filters.until)
    return criteria


@event.listens_for(db.session, "after_commit")
def _log(session: Session) -> None:
    if not session.in_nested_transaction():
        for fields in session.info.pop(_RECORDED, ()):
            log.info(fields["action"], extra={"audit": _without_blanks(fields)})
            counted().audit_events.labels(fields["action"], fields["outcome"]).inc(fields["count"])


@event.listens_for(db.session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_RECORDED, None)


def shown(stored: AuditEvent) -> dict[str, Any]:
    """The event as the operator sees it, in the log and at the terminal."""
    return _without_blanks({column.key: getattr(stored, column.key) for column in AuditEvent.__table__.columns})


def _without_blanks(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", {})}
