"""Call records as a file to download, sent while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Flask, Response, current_app
from sqlalchemy.orm import Session

from app.audit import tally
from app.audit.service import SUCCESS
from app.calls.export import Reading, csv_chunks, json_chunks
from app.calls.models import Call
from app.calls.service import Filters
from app.extensions import db


def csv_download(tenant_id: UUID, filters: Filters, time_zone: ZoneInfo) -> Response:
    """An answer with the pieces of :func:`~app.calls.export.csv_chunks`. See :func:`_download`."""
    return _download(
        tenant_id,
        lambda reading: csv_chunks(reading, tenant_id, filters, time_zone),
        "text/csv; charset=utf-8",
        "csv",
    )


def json_download(tenant_id: UUID, filters: Filters, shown: Callable[[Call], str]) -> Response:
    """An answer with the pieces of :func:`~app.calls.export.json_chunks`. See :func:`_download`."""
    return _download(
        tenant_id, lambda reading: json_chunks(reading, tenant_id, filters, shown), "application/json", "json"
    )


def _download(tenant_id: UUID, read: Callable[[Reading], Iterator[str]], content_type: str, kind: str) -> Response:
    """An answer with the pieces that ``read`` gives: the file ``calls.KIND``.

    The audit trail says who takes a tenant's calls away. The first piece is read before anything is sent: what goes
    wrong by then is answered as an error. What goes wrong later ends the connection, so that nobody takes a part for
    the whole.
    """
    app: Flask = cast(Any, current_app)._get_current_object()

    @contextmanager
    def reading() -> Iterator[Session]:
        """The request is over before the file is sent: each piece is read outside of it."""
        with app.app_context():
            session = db.session()
            session.connection(execution_options={"sqlite_begin": "DEFERRED"})  # it only reads
            yield session

    tally.count(tally.Kind("calls.exported", SUCCESS, tenant_id))
    db.session.commit()  # its connection goes back: the pool may have no second one for this thread
    chunks = read(reading)
    response = Response(chain([next(chunks)], chunks), content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="calls.{kind}"'
    response.headers["Cache-Control"] = "no-store"
    return response
