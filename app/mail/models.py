"""Mails that are to be sent, and what became of them: an outbox, written in the transaction of whoever has news."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcTimestamp, now, primary_key
from app.encryption import encrypted
from app.extensions import Model


class MailState(StrEnum):
    """Queued until the provider accepts the mail, refuses it, or there was no answer for too long."""

    QUEUED = "queued"
    SENT = "sent"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


class Mail(Model):
    """One mail to one recipient. Times are UTC.

    kind: which message, such as ``reset_password``.
    content: ``from``, ``to``, ``subject``, ``text`` and ``html``. A link in it may let in whoever has it, so it is
    encrypted, and removed as soon as the mail is not queued any more.
    due_at: not sent before. Whoever takes the mail to send it moves this ahead, which keeps all others away, and lets
    them have it should that process die.
    expires_at: not sent after. attempts: how often it was taken. finished_at: when it ceased to be queued.
    provider_id: what Resend calls it. reason: why the last attempt came to nothing.
    """

    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'sent', 'refused', 'given_up')", name="state"),
        CheckConstraint("state = 'queued' OR content_encrypted IS NULL", name="content_removed"),
        Index(None, "state", "due_at"),
    )

    id: Mapped[UUID] = primary_key()
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default=MailState.QUEUED)
    content = encrypted("mails.content", owner=None, structured=True)
    created_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    due_at: Mapped[datetime] = mapped_column(UtcTimestamp(), default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    attempts: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    provider_id: Mapped[str | None]
    reason: Mapped[str | None]
