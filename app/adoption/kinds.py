"""What is made of the rows of another application: the kinds, with the schemas and services that the API has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from app.credentials.schemas import ApiCredentialIn
from app.credentials.service import api_credentials
from app.integrations.service import Integrations
from app.payments.schemas import PaymentAccountIn
from app.payments.service import payment_accounts
from app.phone_systems.schemas import PhoneSystemIn
from app.phone_systems.service import phone_systems
from app.schemas import Input, PlainText, TimeZone, not_required


class TenantIn(Input):
    """A tenant with its owner, as :func:`app.tenants.service.create_tenant` makes it."""

    name: PlainText
    subdomain: PlainText
    owner_email: PlainText
    time_zone: TimeZone = not_required()


@dataclass(frozen=True)
class Kind:
    """integrations: the service that makes one; None for tenants."""

    schema: type[Input]
    integrations: Integrations[Any] | None

    @property
    def secrets(self) -> frozenset[str]:
        """The fields that are sealed."""
        return self.integrations.secrets if self.integrations is not None else frozenset()

    @property
    def fields(self) -> dict[str, bool]:
        """The other fields, each with whether there has to be one."""
        model: type[BaseModel] = self.schema
        return {name: field.is_required() for name, field in model.model_fields.items() if name not in self.secrets}


# Tenants first: what the others belong to.
KINDS: Final[Mapping[str, Kind]] = {
    "tenants": Kind(TenantIn, None),
    "phone_systems": Kind(PhoneSystemIn, phone_systems),
    "payment_accounts": Kind(PaymentAccountIn, payment_accounts),
    "api_credentials": Kind(ApiCredentialIn, api_credentials),
}
