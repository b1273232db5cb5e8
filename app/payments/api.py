"""``/api/payment-accounts``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.extensions import db
from app.identity.access import current_membership
from app.pagination import Page, PageQuery
from app.payments import service
from app.payments.schemas import PaymentAccountChanges, PaymentAccountIn, PaymentAccountOut, PaymentAccountWritten

api = APIBlueprint("payment_accounts", __name__, url_prefix="/api/payment-accounts", tag="Payment accounts")


@api.post("")
@api.input(PaymentAccountIn)
@api.output(PaymentAccountWritten, status_code=201)
@api.doc(summary="Create a payment account")
def create(json_data: PaymentAccountIn) -> tuple[PaymentAccountWritten, dict[str, str]]:
    payment_account = service.create(db.session(), current_membership().tenant_id, json_data.given())
    location = url_for("payment_accounts.show", payment_account_id=payment_account.id)
    return PaymentAccountWritten.of(payment_account, []), {"Location": location}


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[PaymentAccountOut])
@api.doc(summary="List the payment accounts, newest first")
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = service.list_page(db.session(), current_membership().tenant_id, query_data)
    return {"items": items, "next": following}


@api.get("/<uuid:payment_account_id>")
@api.output(PaymentAccountOut)
@api.doc(summary="Show a payment account")
def show(payment_account_id: UUID) -> PaymentAccountOut:
    payment_account = service.get(db.session(), current_membership().tenant_id, payment_account_id)
    return PaymentAccountOut.model_validate(payment_account)


@api.patch("/<uuid:payment_account_id>")
@api.input(PaymentAccountChanges)
@api.output(PaymentAccountWritten)
@api.doc(summary="Change a payment account")
def change(payment_account_id: UUID, json_data: PaymentAccountChanges) -> PaymentAccountWritten:
    tenant_id = current_membership().tenant_id
    return PaymentAccountWritten.of(*service.update(db.session(), tenant_id, payment_account_id, json_data.given()))


@api.delete("/<uuid:payment_account_id>")
@api.output({}, status_code=204)
@api.doc(summary="Delete a payment account")
def delete(payment_account_id: UUID) -> tuple[str, int]:
    service.delete(db.session(), current_membership().tenant_id, payment_account_id)
    return "", 204
