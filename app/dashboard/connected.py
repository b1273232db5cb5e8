"""What a tenant has connected, and how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.credentials import service as credentials
from app.credentials.models import ApiCredential
from app.credentials.service import api_credentials
from app.extensions import db
from app.pagination import PageQuery
from app.payments import service as payments
from app.payments.models import PaymentAccount
from app.payments.service import payment_accounts
from app.phone_systems.attention import attention
from app.phone_systems.health import Health, health_of
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems

MOST: Final = 200  # of each kind, the newest

PROVIDERS: Final = {"paypal": "PayPal"}  # as they write themselves


@dataclass(frozen=True)
class Connection:
    """How one of them is. place: the blueprint of its pages. needed: what needs attention, in sentences. health: of
    phone systems alone. expires_at: of API credentials alone, where it is known."""

    place: str
    id: UUID
    name: str
    kind: str
    secret_set: bool
    secret_changed_at: datetime | None
    secret_changed_by: str | None
    needed: list[str]
    health: Health | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Connections:
    """Newest first, at most 200 of each kind; how each phone system is; and what each of them needs, in sentences."""

    phone_systems: list[PhoneSystem]
    health: dict[UUID, Health]
    payment_accounts: list[PaymentAccount]
    api_credentials: list[ApiCredential]
    needed: dict[UUID, list[str]]

    @property
    def any_delivery(self) -> bool:
        """Whether a phone system has delivered yet."""
        return any(health.last_delivery_at is not None for health in self.health.values())

    def newest(self, most: int) -> list[Connection]:
        """At most so many of each kind."""
        return [
            *(self._phone_system(row) for row in self.phone_systems[:most]),
            *(self._payment_account(row) for row in self.payment_accounts[:most]),
            *(self._api_credential(row) for row in self.api_credentials[:most]),
        ]

    def _phone_system(self, row: PhoneSystem) -> Connection:
        health = self.health.get(row.id)
        return self._connection(row, "phone_systems_pages", "Phone system", "webhook_password", health=health)

    def _payment_account(self, row: PaymentAccount) -> Connection:
        return self._connection(row, "payment_accounts_pages", "Payment account", "client_secret")

    def _api_credential(self, row: ApiCredential) -> Connection:
        return self._connection(row, "api_credentials_pages", "API credential", "secret", expires_at=row.expires_at)

    def _connection(self, row: Any, place: str, kind: str, secret: str, **more: Any) -> Connection:
        state = {f"secret_{what}": getattr(row, f"{secret}_{what}") for what in ("set", "changed_at", "changed_by")}
        return Connection(place, row.id, name_of(row), kind, needed=self.needed[row.id], **state, **more)


def connections_of(tenant_id: UUID, moment: datetime) -> Connections:
    """In five statements, however many there are. moment: now, aware."""
    session, page = db.session(), PageQuery(limit=MOST)
    systems, _ = phone_systems.list_page(session, tenant_id, page)
    health = health_of(session, tenant_id, [row.id for row in systems]) if systems else {}
    accounts, _ = payment_accounts.list_page(session, tenant_id, page)
    keys, _ = api_credentials.list_page(session, tenant_id, page)
    needed = {row.id: attention(row, health.get(row.id), moment) for row in systems}
    needed |= {row.id: payments.attention(row) for row in accounts}
    needed |= {row.id: credentials.attention(row, moment) for row in keys}
    return Connections(systems, health, accounts, keys, needed)


def name_of(row: Any) -> str:
    """What people call it."""
    return name_in(payment_accounts.named(row) if isinstance(row, PaymentAccount) else {"name": row.name})


def name_in(named: Mapping[str, str]) -> str:
    """The same, of what the audit trail has; "" for nothing."""
    if "mode" in named and "provider" in named:
        return f"{PROVIDERS.get(named['provider'], named['provider'])} ({named['mode']})"
    return str(named.get("name", ""))
