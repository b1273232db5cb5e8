"""Call records that are older than their tenant wants to keep them are removed, for good. docs/retention.md says it for
those who run and use the service.

What counts is when a leg began, by its phone system's clock: each record goes by itself, whatever it is a leg of. So a
phone system that calls everything by one name keeps nothing for ever. Days go as a whole, by the tenant's time zone, so
that the figures of a day that is left are those of all of it; but for calls that go on past midnight.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, select, tuple_
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.calls.models import Call
from app.calls.period import start_of
from app.tenants.models import Tenant

BATCH_ROWS: Final = 5000
# On SQLite, where everybody else who writes waits for a batch, and looks every 0.1 s whether it may: so all get in.
PAUSE_SECONDS: Final = 0.15


@dataclass(frozen=True, slots=True)
class Expiry:
    """What a tenant keeps: the records that began at ``border`` or later, for ``days`` days."""

    tenant_id: UUID
    subdomain: str
    days: int
    border: datetime


def border_of(days: int, time_zone: ZoneInfo, at: datetime) -> datetime:
    """The first moment, in UTC, that is kept by who keeps call records for so many local days before that of ``at``."""
    return start_of(at.astimezone(time_zone).date() - timedelta(days=days), time_zone)


def expiries(session: Session, at: datetime, subdomain: str | None = None) -> list[Expiry]:
    """Of each tenant that does not keep its records for ever, suspended ones too; or of that one alone. In the
    system's scope."""
    kept = select(Tenant.id, Tenant.subdomain, Tenant.time_zone, Tenant.call_retention_days)
    kept = kept.where(Tenant.call_retention_days.is_not(None)).order_by(Tenant.subdomain)
    if subdomain is not None:
        kept = kept.where(Tenant.subdomain == subdomain)
    return [
        Expiry(tenant_id, name, days, border_of(days, ZoneInfo(time_zone), at))
        for tenant_id, name, time_zone, days in session.execute(kept)
        if days is not None
    ]


def count_before(session: Session, tenant_id: UUID, border: datetime) -> int:
    """How many of the tenant's records began before that."""
    return session.scalar(select(func.count()).select_from(Call).where(_before(tenant_id, border))) or 0


def remove(session: Session, expiry: Expiry) -> Iterator[int]:
    """Remove the tenant's records that began before the border, oldest first, and tell of each batch how many. A batch
    and its event are one transaction: whoever stops in between leaves nothing half done. In the system's scope.

    Nobody waits for it on PostgreSQL, and it for nobody: what somebody else holds stays until the next time. On SQLite
    who writes waits for one batch at the most.
    """
    last: Row[datetime, UUID] | None = None
    while True:
        found = session.execute(_batch(expiry, last)).all()
        if found:
            ids = [row.id for row in found]
            gone = delete(Call).where(Call.tenant_id == expiry.tenant_id, Call.id.in_(ids))
            session.execute(gone.execution_options(synchronize_session=False))
            details = {"records": len(ids), "kept_days": expiry.days, "began_before": expiry.border.isoformat()}
            audit.record(session, "calls.removed", tenant_id=expiry.tenant_id, details=details)
        session.commit()
        if found:
            yield len(found)
        if len(found) < BATCH_ROWS:
            return
        last = found[-1]
        if session.get_bind().dialect.name == "sqlite":
            time.sleep(PAUSE_SECONDS)


def _batch(expiry: Expiry, last: Row[datetime, UUID] | None) -> Select[datetime, UUID]:
    """From ``last`` on, and not from the beginning: there are the remains of those that were removed before."""
    due = select(Call.started_at, Call.id).where(_before(expiry.tenant_id, expiry.border))
    if last is not None:
        due = due.where(tuple_(Call.started_at, Call.id) > tuple_(last.started_at, last.id))
    return due.order_by(Call.started_at, Call.id).limit(BATCH_ROWS).with_for_update(skip_locked=True)


def _before(tenant_id: UUID, border: datetime) -> ColumnElement[bool]:
    return and_(Call.tenant_id == tenant_id, Call.started_at < border)
