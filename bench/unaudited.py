"""The service without its audit trail: the yardstick of what that costs. Nobody should run it."""

from __future__ import annotations

from app.audit import service

service.record = lambda *args, **kwargs: None

from wsgi import app  # noqa: E402, F401
