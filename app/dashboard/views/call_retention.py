"""For how long the organisation keeps its call records: what is set here deletes, so it is for owners alone."""

from __future__ import annotations

from datetime import datetime

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import BooleanField, HiddenField, StringField

from app.calls import retention
from app.dashboard.changing import EditForm
from app.dashboard.forms import note
from app.dashboard.pages import form_route, page_with, pages_of
from app.dashboard.rendering import local_zone, plural
from app.database import now
from app.extensions import db
from app.identity.access import current_tenant_id, fresh
from app.limits.budget import costs
from app.tenants import service
from app.tenants.models import Tenant
from app.tenants.schemas import FEWEST_DAYS, MOST_DAYS, TenantChanges

pages = pages_of("call_retention_pages", "/organisation/call-retention")


class RetentionForm(EditForm):
    PLAIN = ("call_retention_days",)

    call_retention_days = StringField(
        "Delete call records after so many days",
        description=f"From {FEWEST_DAYS} to {MOST_DAYS:,}. Leave it empty to keep them for ever.",
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    asked = HiddenField()  # the number of days for which the box below was shown
    confirmed = BooleanField()


@form_route(pages, "")
@fresh
@costs(20)
def show() -> ResponseReturnValue:
    tenant = service.get(db.session(), current_tenant_id(), to_change=request.method == "POST")
    form, given, differences = RetentionForm(data=RetentionForm.of(tenant)), None, None
    if request.method == "GET":
        form.note_opened(tenant)
    if form.is_sent():
        form.take_theirs(tenant)
        given = form.read(TenantChanges, form.texts(*form.PLAIN))
        differences = form.differences(tenant) if given else None
    days = given.call_retention_days if given and differences is None else None
    if not _asks(form, tenant, days) and given and differences is None:
        service.change(db.session(), tenant.id, given.given(), form.sent_version())
        note(f"Call records are kept for {'ever' if days is None else plural(days, 'day')} from now on.")
        return redirect(url_for("organisation_pages.show"), 303)
    return page_with(
        form,
        "dashboard/organisation/call_retention.html",
        tenant=tenant,
        differences=differences,
        border=_border(tenant),
    )


def _asks(form: RetentionForm, tenant: Tenant, days: int | None) -> bool:
    """Whether somebody has to say first that they mean it: records that are kept until now would be deleted, and the
    box was not ticked that says for how many days. Without that the form has no box."""
    stored = tenant.call_retention_days
    doomed = 0
    if days is not None and (stored is None or days < stored):
        border = retention.border_of(days, local_zone(), now())
        doomed = retention.count_before(db.session(), tenant.id, border)
    if not doomed:
        del form.confirmed
        return False
    if form.confirmed.data and form.text("asked") == str(days):
        return False
    form.asked.data, form.confirmed.data = str(days), False
    records = plural(doomed, "call record")
    form.confirmed.label.text = f"Yes, delete {records} for good"
    message = f"to keep {plural(days or 0, 'day')} deletes {records} that you have now: tick this if you mean it"
    form.complain([{"field": "confirmed", "message": message}])
    return True


def _border(tenant: Tenant) -> datetime | None:
    """When the first day begins of which call records are kept now; None where they are kept for ever."""
    days = tenant.call_retention_days
    return None if days is None else retention.border_of(days, local_zone(), now())
