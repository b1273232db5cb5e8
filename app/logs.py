"""The log: one line of JSON on standard error for each event, in UTC, whatever is in it.

``timestamp``, ``level``, ``logger`` and ``event`` are always there, ``request_id`` where a request is served, ``audit``
where the event is in the audit trail too. Whatever is not ASCII is escaped, and so is a line break of any kind (also
U+0085, U+2028 and U+2029, which some readers take for one): nobody writes a second line by what they send.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog
from flask import g, has_request_context


def log_to_standard_error() -> None:
    """Let what the application logs be seen. Sign-ins, refusals and changes are told at level INFO."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.ExtraAdder(allow=["audit"]),
                _add_request_id,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # without the values of variables
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]


def _add_request_id(logger: Any, name: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if has_request_context() and "request_id" in g:
        entry["request_id"] = g.request_id
    return entry
