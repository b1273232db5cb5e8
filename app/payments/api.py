"""``/api/payment-accounts``."""

from __future__ import annotations

from app.integrations.api import Schemas, integration_routes
from app.pagination import Page
from app.payments.schemas import PaymentAccountChanges, PaymentAccountIn, PaymentAccountOut, PaymentAccountWritten
from app.payments.service import payment_accounts

api = integration_routes(
    "payment_accounts",
    "/api/payment-accounts",
    payment_accounts,
    Schemas(
        given=PaymentAccountIn,
        changes=PaymentAccountChanges,
        shown=PaymentAccountOut,
        page=Page[PaymentAccountOut],
        written=PaymentAccountWritten,
        created=PaymentAccountWritten,
    ),
    one="a payment account",
    several="payment accounts",
    example={"webhook_id": "0EH40505U7160970P"},
)
