"""The organisation itself: what it is called, its time zone and its country."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import SelectField, StringField

from app.dashboard.changing import EditForm
from app.dashboard.forms import country_choices, needed, note, time_zone_choices
from app.dashboard.pages import form_route, page_with, pages_of
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.tenants import service
from app.tenants.schemas import TenantChanges

pages = pages_of("organisation_pages", "/organisation")


class OrganisationForm(EditForm):
    PLAIN = ("name", "time_zone", "country")

    name = StringField("Name", [needed()], description="Your team sees it, and whoever you invite.")
    time_zone = SelectField(
        "Time zone",
        [needed()],
        choices=time_zone_choices,
        validate_choice=False,
        description="If you change it, days, charts and times are shown in the new one at once, those of the past too. "
        "A phone system without a time zone of its own is read in it from then on, so choose one there first if its "
        "clock stays as it is. Calls that are stored already stay as they were read.",
    )
    country = SelectField(
        "Country",
        choices=country_choices,
        validate_choice=False,
        description="The same number is then known as the same however it is written: 020 7123 4567 and "
        "+44 20 7123 4567. Without a country only numbers that begin with + or 00 are. It counts for new calls; for "
        "those that are stored already, ask the operator to have them described again.",
    )


@form_route(pages, "")
@costs(10)
def show() -> ResponseReturnValue:
    tenant = service.get(db.session(), current_tenant_id(), to_change=request.method == "POST")
    form, differences = OrganisationForm(data=OrganisationForm.of(tenant)), None
    if request.method == "GET":
        form.note_opened(tenant)
    if form.is_sent():
        form.take_theirs(tenant)
        given = form.read(TenantChanges, form.texts(*form.PLAIN))
        differences = form.differences(tenant) if given else None
        if given and differences is None:
            service.change(db.session(), tenant.id, given.given(), form.sent_version())
            note(f"{tenant.name} was saved.")
            return redirect(url_for(".show"), 303)
    return page_with(form, "dashboard/organisation/show.html", tenant=tenant, differences=differences)
