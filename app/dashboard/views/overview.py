"""What is going on, at a glance."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from app.dashboard.pages import pages_of
from app.limits.budget import costs

pages = pages_of("overview")


@pages.get("/overview")
@costs(20)
def show() -> ResponseReturnValue:
    return render_template("dashboard/overview.html")
