"""Call records as CSV (RFC 4180) or JSON, in pieces: a million of them take no more memory than a thousand."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from app.calls.models import Call
from app.calls.service import Filters, listing
from app.tenancy import tenant_scope

PAGE_ROWS: Final = 1000
COLUMNS: Final = (
    "started_at",
    "answered_at",
    "ended_at",
    "source",
    "destination",
    "source_e164",
    "destination_e164",
    "direction",
    "extension",
    "caller_name",
    "disposition",
    "duration_seconds",
    "talk_seconds",
    "phone_system_id",
    "linked_id",
    "id",
    "demonstration",
)

_BYTE_ORDER_MARK: Final = "\ufeff"  # by which Excel knows UTF-8

# Where a spreadsheet may see the beginning of a formula (ASVS 1.2.10): at the beginning of a cell, and, as some split
# lines at other signs than the comma, behind those. It may overlook blanks and quotation marks before it, and that the
# sign is a full-width one.
_FORMULA: Final = re.compile(r"(^|[,;\t\r\n])(?=[\s\"\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r])")


Reading = Callable[[], AbstractContextManager[Session]]


def csv_chunks(reading: Reading, tenant_id: UUID, filters: Filters, time_zone: ZoneInfo) -> Iterator[str]:
    """A header and the tenant's records that fit, newest first: text in pieces of 1,000 lines. reading: see
    :func:`_pages`.

    Times are local to ``time_zone``, with their offset from UTC. What a spreadsheet could take for a formula has an
    apostrophe before it, phone numbers that begin with ``+`` included.
    """
    text = _BYTE_ORDER_MARK + _lines([COLUMNS])
    for calls in _pages(reading, tenant_id, filters):
        yield text + _lines(_cells(call, time_zone) for call in calls)
        text = ""


def json_chunks(reading: Reading, tenant_id: UUID, filters: Filters, shown: Callable[[Call], str]) -> Iterator[str]:
    """The tenant's records that fit, newest first, as one JSON array: text in pieces of 1,000 records, each of them on
    a line of its own. Without its end it is no JSON, so that nobody takes a part for the whole.

    reading: see :func:`_pages`. shown: a record as a JSON object, without line breaks.
    """
    before = "[\n"
    for calls in _pages(reading, tenant_id, filters):
        if calls:
            yield before + ",\n".join(map(shown, calls))
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _pages(reading: Reading, tenant_id: UUID, filters: Filters) -> Iterator[list[Call]]:
    """The tenant's records that fit, newest first, 1,000 at a time; an empty page at the end where they come out even.

    Each page is read with a session and in a scope of its own, which are left before it is handed out: nobody knows how
    long its reader takes until the next, and what the thread does meanwhile. reading: gives a session.
    """
    chosen, last = listing(filters), None
    while True:
        with tenant_scope(tenant_id), reading() as session:
            calls = chosen.fetch_after(session, last, PAGE_ROWS, tenant_id=tenant_id)
            session.commit()
        yield calls
        if len(calls) < PAGE_ROWS:
            return
        last = calls[-1]


def _cells(call: Call, time_zone: ZoneInfo) -> Iterator[str]:
    for column in COLUMNS:
        value = getattr(call, column)
        if isinstance(value, datetime):
            value = value.astimezone(time_zone).isoformat(timespec="seconds")
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        yield "" if value is None else neutralised(str(value))


def neutralised(cell: str) -> str:
    """The text of a cell, with an apostrophe before whatever a spreadsheet could take for a formula."""
    return _FORMULA.sub(r"\1'", cell)


def _lines(rows: Iterable[Iterable[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
