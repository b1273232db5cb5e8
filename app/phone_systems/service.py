"""What can be done with phone systems."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.calls import service as calls
from app.integrations.service import Integrations
from app.phone_systems.models import PhoneSystem

WEBHOOK_USERNAME: Final = "pbx"


class PhoneSystems(Integrations[PhoneSystem]):
    """Phone systems, which also have webhook credentials, and call records."""

    def create(self, session: Session, tenant_id: UUID, values: Mapping[str, Any]) -> PhoneSystem:
        """A new phone system. Webhook credentials that are not among ``values`` are made up."""
        return super().create(
            session,
            tenant_id,
            {
                **values,
                "webhook_username": values.get("webhook_username") or WEBHOOK_USERNAME,
                "webhook_password": values.get("webhook_password") or secrets.token_urlsafe(24),
            },
        )

    def detach(self, session: Session, row: PhoneSystem) -> None:
        """Call records stay when their phone system goes."""
        calls.detach_phone_system(session, row.tenant_id, row.id)


phone_systems = PhoneSystems(PhoneSystem, "phone_system", secret="password", sent_to=["base_url"])
