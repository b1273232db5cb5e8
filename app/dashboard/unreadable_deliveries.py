"""What a phone system delivered that was not understood: on its page, with a page for each, and one to delete all."""

from __future__ import annotations

from uuid import UUID

from apiflask import APIBlueprint
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app.dashboard.connection_kinds import Kind
from app.dashboard.forms import Form, note
from app.dashboard.pages import form_route, page_with
from app.dashboard.rendering import plural
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.pagination import PageQuery
from app.phone_systems import unreadable
from app.phone_systems.models import UnreadableDelivery
from app.phone_systems.vendors import VENDORS

TEMPLATES = "dashboard/phone_systems"


def newest_unreadable(phone_system_id: UUID) -> list[UnreadableDelivery]:
    """All that are kept of a phone system, newest first, without what was in them."""
    page = PageQuery(limit=unreadable.MOST_KEPT)
    found, _ = unreadable.list_page(db.session(), current_tenant_id(), phone_system_id, page)
    return found


def add_unreadable_deliveries(pages: APIBlueprint, kind: Kind) -> None:
    """Add those pages to the blueprint of phone systems, which has ``show``."""

    @pages.get("/<uuid:id>/unreadable-deliveries/<uuid:delivery_id>")
    @costs(10)
    def show_unreadable(id: UUID, delivery_id: UUID) -> ResponseReturnValue:
        delivery = unreadable.read(db.session(), current_tenant_id(), id, delivery_id)
        phone_system = kind.get(id)
        return render_template(
            f"{TEMPLATES}/unreadable.html",
            phone_system=phone_system,
            vendor=VENDORS[phone_system.vendor].LABEL,
            delivery=delivery,
            most_of_body=unreadable.MOST_OF_BODY,
        )

    @form_route(pages, "/<uuid:id>/unreadable-deliveries/clear")
    @costs(10)
    def clear_unreadable(id: UUID) -> ResponseReturnValue:
        phone_system = kind.get(id)
        form = Form()
        if form.is_sent():
            count = unreadable.clear(db.session(), current_tenant_id(), id)
            deleted = f"{plural(count, 'delivery', 'deliveries')} that {'was' if count == 1 else 'were'} not understood"
            note(f"Deleted: {deleted}." if count else "There was nothing to delete any more.")
            return redirect(url_for(".show", id=id), 303)
        return page_with(form, f"{TEMPLATES}/clear_unreadable.html", phone_system=phone_system)
