"""The service with password hashes that cost nothing: what signing in takes beside them. Nobody should run it."""

from __future__ import annotations

import importlib

from app.identity import passwords
from bench.setting import QUICK_HASHER

passwords._hasher = QUICK_HASHER
app = importlib.import_module("wsgi").app
