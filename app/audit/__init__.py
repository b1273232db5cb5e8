"""The audit trail: who did what, to which object, from where, and what came of it.

* :mod:`service`: recording an event with the change that it is about, and reading
* :mod:`tally`: what happens by the thousand is added up by the hour
* :mod:`requests`: refused requests
* :mod:`seals`: show whether the trail was altered

See docs/audit.md.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from app.audit import requests


def init_app(app: Flask, retention: timedelta) -> None:
    app.extensions["audit_retention"] = retention
    requests.init_app(app)
