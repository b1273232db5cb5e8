"""Accounts with payment processors."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import SelectField, StringField

from app.dashboard.connected import PROVIDERS, name_of
from app.dashboard.connection_kinds import ConnectionForm, Kind
from app.dashboard.connections import add_changes, creation
from app.dashboard.forms import SecretField, needed, note
from app.dashboard.pages import form_route, page_query, pages_of
from app.extensions import db
from app.identity.access import current_tenant_id
from app.limits.budget import costs
from app.payments.schemas import PaymentAccountChanges, PaymentAccountIn
from app.payments.service import attention, payment_accounts

pages = pages_of("payment_accounts_pages", "/payment-accounts")

MODES: Final = {"sandbox": "Sandbox: for trying out, moves no money", "live": "Live: moves real money"}


class PaymentAccountForm(ConnectionForm):
    PLAIN = ("provider", "mode", "client_id", "webhook_id")

    provider = SelectField("Provider", [needed()], choices=PROVIDERS, validate_choice=False)
    mode = SelectField("Mode", [needed()], choices=MODES, validate_choice=False)
    client_id = StringField(
        "Client ID", description="In PayPal's developer dashboard, under Apps & Credentials, in the same mode as here."
    )
    client_secret = SecretField("Client secret", description="From the same place.")
    webhook_id = StringField("Webhook ID", description="Of the webhook in the same app, if you use one.")


KIND: Final = Kind(
    integrations=payment_accounts,
    one="payment account",
    secret_label="client secret",
    form=PaymentAccountForm,
    given=PaymentAccountIn,
    changes=PaymentAccountChanges,
    name_of=name_of,
    sent_to=name_of,
    after_deletion="Its client secret cannot be brought back. The account at the provider stays as it is.",
)
add_changes(pages, KIND)


@pages.get("")
@costs(20)
def show_list() -> ResponseReturnValue:
    accounts, following = payment_accounts.list_page(db.session(), current_tenant_id(), page_query())
    return render_template(
        "dashboard/payment_accounts/list.html",
        accounts=accounts,
        following=following,
        name_of=name_of,
        attention=attention,
    )


@form_route(pages, "/new")
@costs(10)
def create() -> ResponseReturnValue:
    return creation(KIND, _show_new)


@pages.get("/<uuid:id>")
@costs(10)
def show(id: UUID) -> ResponseReturnValue:
    account = KIND.get(id)
    return render_template(
        "dashboard/payment_accounts/show.html",
        account=account,
        kind=KIND,
        provider=PROVIDERS.get(account.provider, account.provider),
        mode=MODES[account.mode],
        needed=attention(account),
    )


def _show_new(account: Any) -> ResponseReturnValue:
    note(f"{name_of(account)} was saved.")
    return redirect(url_for(".show", id=account.id), 303)
