"""Keys of third parties' services."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField
from wtforms.widgets import DateTimeLocalInput

from app.credentials.models import ApiCredential
from app.credentials.schemas import ApiCredentialChanges, ApiCredentialIn
from app.credentials.service import api_credentials, attention
from app.dashboard import local_time
from app.dashboard.connection_kinds import ConnectionForm, Kind
from app.dashboard.connections import add_changes, creation
from app.dashboard.days import ZonedForm
from app.dashboard.forms import SecretField, needed, note
from app.dashboard.pages import form_route, page_query, pages_of
from app.dashboard.rendering import local_zone, zone_name
from app.database import now
from app.errors import Invalid
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs

pages = pages_of("api_credentials_pages", "/api-credentials")

TWICE: Final = "Clocks are put back that night, and show the time at which it expires twice: the earlier one was taken."


class ApiCredentialForm(ZonedForm, ConnectionForm):
    PLAIN = ("name", "provider", "expires_at")

    name = StringField("Name", [needed()], description="For people to tell it from others, such as Transcription.")
    provider = StringField("Provider", [needed()], description="Whose service it is for, such as Deepgram.")
    secret = SecretField("Key", description="As the provider shows it.")
    expires_at = StringField("Expires", widget=DateTimeLocalInput())

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        when = "When the provider stops accepting it, if that is known"
        self.expires_at.description = f"{when}. It is a time of {zone_name()}."

    def values(self, row: ApiCredential | None = None) -> dict[str, Any] | None:
        """The time as the API takes it. One that was not touched stays what it is, to the second, and also where clocks
        show it twice."""
        values, typed = self.texts("name", "provider", "expires_at"), self.text("expires_at")
        if row is not None and typed == _shown(row.expires_at):
            return {**values, "expires_at": row.expires_at and row.expires_at.isoformat()}
        try:
            return {**values, "expires_at": (typed and local_time.read(typed, local_zone()).isoformat()) or None}
        except Invalid as refusal:
            self.complain([{"field": "expires_at", "message": refusal.detail}])
            return None

    def remark(self, changes: Mapping[str, Any]) -> str | None:
        """That clocks show the time twice."""
        is_set = changes.get("expires_at") is not None
        return TWICE if is_set and local_time.happens_twice(self.text("expires_at"), local_zone()) else None

    @classmethod
    def of(cls, row: ApiCredential) -> dict[str, Any]:
        """The time as a clock of the organisation shows it."""
        return {**super().of(row), "expires_at": _shown(row.expires_at)}


def _shown(moment: datetime | None) -> str:
    return local_time.show(moment, local_zone()) if moment else ""


KIND: Final = Kind(
    integrations=api_credentials,
    one="API credential",
    secret_label="key",
    form=ApiCredentialForm,
    given=ApiCredentialIn,
    changes=ApiCredentialChanges,
    name_of=lambda credential: credential.name,
    sent_to=lambda credential: credential.provider,
    after_deletion="The key cannot be brought back from here. The provider accepts it until it is deleted there.",
)
add_changes(pages, KIND)


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    credentials, following = api_credentials.list_page(db.session(), current_tenant_id(), page_query())
    return render_template(
        "dashboard/api_credentials/list.html",
        credentials=credentials,
        following=following,
        attention=partial(attention, moment=now()),
    )


@form_route(pages, "/new")
@costs(10)
def create() -> ResponseReturnValue:
    return creation(KIND, _show_new)


@pages.get("/<uuid:id>")
@costs(10)
def show(id: UUID) -> ResponseReturnValue:
    credential = KIND.get(id)
    return render_template(
        "dashboard/api_credentials/show.html", credential=credential, kind=KIND, needed=attention(credential, now())
    )


def _show_new(credential: Any) -> ResponseReturnValue:
    note(f"{credential.name} was saved.")
    return redirect(url_for(".show", id=credential.id), 303)
