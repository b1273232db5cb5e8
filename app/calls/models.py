"""Call records (CDRs): what a phone system says about each leg of a call."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, Index, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcTimestamp, now
from app.extensions import Model
from app.tenancy import TenantOwned, belongs_to, tenant_key


class Call(TenantOwned, Model):
    """One record, which is one leg of a call. Times are UTC, durations whole seconds.

    record_key: tells a record from every other of its phone system, so that one delivered again changes nothing.
    linked_id: what the legs of one call have in common.
    phone_system_id: None once the phone system was deleted; its records stay.
    details: the vendor's further fields as delivered. demonstration: made up, not delivered by a PBX.
    direction, extension: see :mod:`app.phone_systems.vendors.parties`. source_e164, destination_e164: the numbers in
    E.164, where they can be read with the tenant's country; see :mod:`app.calls.parties`. A record of before there was
    this has no direction until it is described again.
    opens_call: whether it is the earliest leg of its call, which stands for it in figures (:mod:`app.calls.legs`).
    call_disposition: what became of a call of several legs; None where it is this leg alone. call_talk_seconds: of its
    longest answered leg; None where none was answered.
    """

    __tablename__ = "calls"
    __table_args__ = (
        tenant_key(),
        belongs_to("phone_systems", "phone_system_id"),
        UniqueConstraint("phone_system_id", "record_key"),
        CheckConstraint(
            "disposition IN ('answered', 'no_answer', 'busy', 'failed', 'voicemail', 'other')", name="disposition"
        ),
        CheckConstraint("direction IN ('inbound', 'outbound', 'internal', 'unknown')", name="direction"),
        Index(None, "tenant_id", "started_at", "id"),
        Index(
            None,
            "tenant_id",
            "extension",
            "started_at",
            "id",
            postgresql_where=text("extension IS NOT NULL"),
            sqlite_where=text("extension IS NOT NULL"),
        ),
        Index(None, "tenant_id", "linked_id", "started_at", "id"),
        Index(  # for figures, which are read from it alone
            "ix_calls_opening",
            "tenant_id",
            "started_at",
            postgresql_include=[
                *("source", "source_e164", "destination", "destination_e164", "direction"),
                *("disposition", "talk_seconds", "call_disposition", "call_talk_seconds"),
            ],
            postgresql_where=text("opens_call"),
            sqlite_where=text("opens_call = 1"),
        ),
        Index(  # for the last delivery of a phone system
            None,
            "phone_system_id",
            "received_at",
            postgresql_where=text("NOT demonstration"),
            sqlite_where=text("demonstration = 0"),
        ),
    )

    phone_system_id: Mapped[UUID | None]
    record_key: Mapped[str]
    linked_id: Mapped[str | None]
    source: Mapped[str]
    destination: Mapped[str]
    source_e164: Mapped[str | None]
    destination_e164: Mapped[str | None]
    direction: Mapped[str | None]
    extension: Mapped[str | None]
    caller_name: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    answered_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    ended_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    duration_seconds: Mapped[int]
    talk_seconds: Mapped[int]
    disposition: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    demonstration: Mapped[bool] = mapped_column(default=False)
    received_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    opens_call: Mapped[bool] = mapped_column(default=True, server_default=true())
    call_disposition: Mapped[str | None]
    call_talk_seconds: Mapped[int | None]
