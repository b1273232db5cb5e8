"""What is made once, however often its form is sent: by loading the answer again, say, or by two clicks.

The form carries the id of what it is to make, drawn when the form is shown. Where the tenant has something with that
id, it was made already.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from wtforms import HiddenField

from app.dashboard.forms import Form
from app.database import now, uuid7

VALID: Final = timedelta(days=1)
TOO_OLD: Final = "This form was open for too long: please send it again."


class OnceForm(Form):
    """Makes one thing. once: its id, a UUIDv7 of the last day; no other is taken, so that nobody's new row can be given
    a place among old ones, or ahead of those to come."""

    once = HiddenField(default=lambda: str(uuid7()))

    def id_to_make(self) -> UUID | None:
        """The id that was sent; None for what is none, and the form says so, and has a new one."""
        try:
            id = UUID(self.text("once"))
        except ValueError:
            id = None
        if id is not None and id.version == 7 and timedelta(0) <= now() - _drawn_at(id) + timedelta(minutes=1) < VALID:
            return id
        self.once.data = str(uuid7())
        self.form_errors.append(TOO_OLD)
        return None


def _drawn_at(id: UUID) -> datetime:
    """Its first 48 bits are the Unix time in milliseconds (RFC 9562, section 5.7). One that no calendar has is long
    ago."""
    try:
        return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.min.replace(tzinfo=UTC)
