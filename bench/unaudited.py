"""The service without its audit trail: the yardstick of what that costs. Nobody should run it."""

from __future__ import annotations

import importlib

from app.audit import service

service.record = lambda *args, **kwargs: None
app = importlib.import_module("wsgi").app
