"""Going on from one of a user's tenants to another."""

from __future__ import annotations

from uuid import UUID

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.dashboard import cookie
from app.dashboard.forms import Form, warn_of_button
from app.dashboard.pages import pages_of
from app.errors import NotFound
from app.extensions import db
from app.identity import authentication
from app.identity.access import current_membership, current_session
from app.limits.budget import costs
from app.limits.counting import limited
from app.limits.limit import Limit

pages = pages_of("tenants_pages", "/tenants")


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    choices = authentication.memberships_of(db.session(), current_session().user_id)
    return render_template("dashboard/tenants.html", choices=choices)


@pages.post("/<uuid:tenant_id>")
@limited(Limit.SIGN_IN)
@costs(10)
def go_to(tenant_id: UUID) -> ResponseReturnValue:
    """The session in the present tenant ends; the new one is as fresh as that."""
    before, user = current_session(), current_membership().user
    choices = {it.tenant_id: it for it in authentication.memberships_of(db.session(), before.user_id)}
    if tenant_id not in choices:
        raise NotFound("There is no such tenant, or it is not the user's.")
    if not Form().is_sent():
        warn_of_button()
        return redirect(url_for("tenants_pages.show_list"), 303)
    if tenant_id != before.tenant_id:
        db.session.commit()
        cookie.sign_in(user, tenant_id, choices[tenant_id].membership_id, continues=before)
    return redirect(url_for("overview.show"), 303)
