"""How the tenant's secrets are encrypted, for its owners."""

from __future__ import annotations

from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue

from app.dashboard.pages import pages_of
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.tenants import secrets

pages = pages_of("encryption_pages", "/encryption")


@pages.get("")
@costs(20)
def show() -> ResponseReturnValue:
    return render_template("dashboard/encryption/show.html", **_now())


@pages.get("/now")
@costs(20)
def show_now() -> ResponseReturnValue:
    """The part of the page that changes: asked for again and again, slowly until a rotation runs."""
    return render_template("dashboard/encryption/now.html", **_now())


def _now() -> dict[str, Any]:
    return {
        "overview": secrets.overview(db.session(), current_tenant_id()),
        "rotation": secrets.last_rotation(db.session()),
    }
