"""What can be done with payment accounts."""

from __future__ import annotations

from typing import Final

from app.integrations.service import Integrations
from app.payments.models import PaymentAccount

payment_accounts = Integrations(
    PaymentAccount,
    "payment_account",
    secret="client_secret",
    sent_to=["provider", "mode"],
    named_by=["provider", "mode"],
)

NO_CLIENT_ID: Final = "The client ID is missing."
NO_CLIENT_SECRET: Final = "The client secret is missing."
SENTENCES: Final = (NO_CLIENT_ID, NO_CLIENT_SECRET)


def attention(account: PaymentAccount) -> list[str]:
    """Those of the sentences that are true of it; none if all is well."""
    has = {NO_CLIENT_ID: account.client_id, NO_CLIENT_SECRET: account.client_secret_set}
    return [sentence for sentence, value in has.items() if not value]
