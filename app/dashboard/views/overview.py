"""What is going on, at a glance."""

from __future__ import annotations

from typing import Final

from flask import render_template, request
from flask.typing import ResponseReturnValue

from app.calls.period import Period
from app.calls.statistics import Overview, overview
from app.dashboard.attention import points
from app.dashboard.chart import long, volume_chart
from app.dashboard.connected import connections_of
from app.dashboard.pages import pages_of
from app.dashboard.rendering import local_zone
from app.dashboard.tiles import tiles
from app.database import now
from app.extensions import db
from app.identity.access import current_membership
from app.identity.models import Role
from app.limits.budget import costs
from app.phone_systems.health import catch_up
from app.phone_systems.vendors import VENDORS
from app.tenants import team

DAYS: Final = (7, 14, 30)

pages = pages_of("overview")


@pages.get("/overview")
@costs(20)
def show() -> ResponseReturnValue:
    """Members see calls; owners and admins also how what they keep is, and, before the first call, what to do next."""
    me, moment = current_membership(), now()
    figures = overview(db.session(), me.tenant_id, Period.last(local_zone(), _chosen_days(), moment))
    any_calls = figures.present.calls + figures.before.calls > 0
    if me.role == Role.MEMBER:
        return _render(figures, any_calls)
    catch_up(me.tenant_id)
    connections = connections_of(me.tenant_id, moment)
    others = team.keepers_without_second_factor(db.session(), me.tenant_id, me.id) if me.role == Role.OWNER else []
    to_do = points(me, others, connections)
    if not any_calls and not connections.any_delivery:
        return render_template(
            "dashboard/overview/first_steps.html",
            connections=connections,
            has_others=team.has_others(db.session(), me.tenant_id, me.id),
            points=[point for point in to_do if not point.is_a_step],
            vendors=VENDORS,
        )
    return _render(figures, any_calls, connections=connections, points=to_do)


def _render(figures: Overview, any_calls: bool, **values: object) -> str:
    chart = volume_chart(tuple(figures.days))
    calls = {"figures": figures, "any_calls": any_calls, "tiles": tiles(figures), "chart": chart, "long": long}
    return render_template("dashboard/overview/overview.html", choices=DAYS, days=len(figures.days), **calls, **values)


def _chosen_days() -> int:
    """Of the address; a week for whatever is none of the choices."""
    return next((days for days in DAYS if request.args.get("days") == str(days)), DAYS[0])
