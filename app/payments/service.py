"""What can be done with payment accounts."""

from __future__ import annotations

from app.integrations.service import Integrations
from app.payments.models import PaymentAccount

payment_accounts = Integrations(
    PaymentAccount,
    "payment_account",
    secret="client_secret",
    sent_to=["provider", "mode"],
    named_by=["provider", "mode"],
)


def attention(account: PaymentAccount) -> list[str]:
    """What somebody should look at, in sentences for people; nothing if all is well."""
    there = {"client ID": account.client_id, "client secret": account.client_secret_set}
    missing = [name for name, value in there.items() if not value]
    return [f"It has no {' and no '.join(missing)}: payments cannot be taken with it."] if missing else []
