"""What can be done with payment accounts."""

from __future__ import annotations

from app.integrations.service import Integrations
from app.payments.models import PaymentAccount

payment_accounts = Integrations(PaymentAccount, "payment_account", secret="client_secret", sent_to=["provider", "mode"])
