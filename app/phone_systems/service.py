"""What can be done with phone systems."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.calls import service as calls
from app.database import now
from app.errors import Invalid
from app.integrations.service import Integrations, Notice
from app.phone_systems.models import PhoneSystem
from app.phone_systems.vendors import authentication_of

WEBHOOK_USERNAME: Final = "pbx"
LONGEST_GRACE: Final = timedelta(days=7)


class PhoneSystems(Integrations[PhoneSystem]):
    """Phone systems, which also have webhook credentials, and call records."""

    def create(
        self, session: Session, tenant_id: UUID, values: Mapping[str, Any], row_id: UUID | None = None
    ) -> PhoneSystem:
        """A new phone system. Webhook credentials that are not among ``values`` are made up, but for the secret of one
        that makes it up itself: that is brought later. The rest as above.

        Raises :class:`~app.errors.Invalid` for a secret that the phone system cannot have made.
        """
        password, vendor = values.get("webhook_password"), values["vendor"]
        _check_secret("webhook_password", vendor, password)
        if not password and not authentication_of(vendor).made_by_pbx:
            password = _make_password()
        values = {**values, "webhook_username": values.get("webhook_username") or WEBHOOK_USERNAME}
        return super().create(session, tenant_id, {**values, "webhook_password": password or None}, row_id)

    def update(
        self, session: Session, tenant_id: UUID, row_id: UUID, changes: Mapping[str, Any], version: int | None = None
    ) -> tuple[PhoneSystem, list[Notice]]:
        """As above. Raises :class:`~app.errors.Invalid` for a secret that the phone system cannot have made."""
        if changes.get("webhook_password"):
            row = self._get_to_change(session, tenant_id, row_id, version)
            _check_secret("webhook_password", changes.get("vendor", row.vendor), changes["webhook_password"])
        return super().update(session, tenant_id, row_id, changes, version)

    def rotate_webhook_password(
        self,
        session: Session,
        tenant_id: UUID,
        row_id: UUID,
        *,
        password: str | None,
        keep_previous: timedelta,
        version: int | None = None,
    ) -> tuple[PhoneSystem, str | None]:
        """Replace the webhook password, and accept the one that the PBX has for a while longer: it is changed
        meanwhile, and delivers all the time.

        The one that it has is the webhook password until now, and an even older one is dropped. But if no delivery has
        used that yet, as when it was lost before it was entered, it is the one before, while that is accepted: then it
        stays, at least until when it would have, and the unused one is dropped.

        password: the new one; without it one is made up, which is returned beside the row. One that the phone system
        makes up has to be brought.
        keep_previous: from 0 to 7 days; with 0 none but the new one is accepted.
        version: the one that the sender read, or None for whichever it is.

        Raises :class:`~app.errors.NotFound`, :class:`~app.errors.Invalid` for another time, and for a secret that the
        phone system cannot have made, for another version
        :class:`~app.errors.Conflict`, and :class:`~app.encryption.EncryptionError` when the password that is to be kept
        cannot be opened.
        """
        if not timedelta() <= keep_previous <= LONGEST_GRACE:
            errors = [{"field": "keep_previous_hours", "message": "must be from 0 to 168"}]
            raise Invalid("The webhook password cannot be replaced.", errors)
        row = self._get_to_change(session, tenant_id, row_id, version)
        if not password and authentication_of(row.vendor).made_by_pbx:
            errors = [{"field": "password", "message": "is needed: this kind of phone system makes its secret itself"}]
            raise Invalid("The webhook password cannot be replaced.", errors)
        _check_secret("password", row.vendor, password)
        generated = None if password else _make_password()
        _keep_previous(row, keep_previous)
        values = {"webhook_password": password or generated}
        self.note_who(row, values)
        row.webhook_password = values["webhook_password"]
        until = row.previous_webhook_password_expires_at
        details = self.named(row) | {"previous_accepted_until": until.isoformat() if until else None}
        audit.record(session, "webhook_password.rotated", object_id=row.id, details=details)
        session.commit()
        return row, generated

    def end_grace(self, session: Session, tenant_id: UUID, row_id: UUID, version: int | None = None) -> PhoneSystem:
        """From now on only the webhook password itself is accepted, not the one before it. Nothing changes where that
        is so already.

        Raises :class:`~app.errors.NotFound` and, for another ``version``, :class:`~app.errors.Conflict`.
        """
        row = self._get_to_change(session, tenant_id, row_id, version)
        if row.previous_webhook_password_set:
            row.previous_webhook_password = None
            audit.record(session, "previous_webhook_password.removed", object_id=row.id, details=self.named(row))
        session.commit()
        return row

    def names(self, session: Session, tenant_id: UUID) -> dict[UUID, str]:
        """What the tenant's phone systems are called, in alphabetical order."""
        wanted = select(PhoneSystem.id, PhoneSystem.name).where(PhoneSystem.tenant_id == tenant_id)
        return {row.id: row.name for row in session.execute(wanted.order_by(PhoneSystem.name, PhoneSystem.id))}

    def removed_with(self, row: PhoneSystem, changes: Mapping[str, Any]) -> list[Notice]:
        """Also the webhook password, where the vendor is changed to one that authenticates in another way; and the
        previous one, once it has expired, or where the webhook password is changed without being rotated: that is how
        one is ended that others know."""
        notices = super().removed_with(row, changes)
        is_another_way = authentication_of(changes.get("vendor", row.vendor)) is not authentication_of(row.vendor)
        if is_another_way and "webhook_password" not in changes and row.webhook_password_set:
            notices.append(Notice("webhook_password", "was removed, because vendor changed: set it again"))
        if row.previous_webhook_password_set:
            if row.previous_webhook_password_expires_at is None:
                notices.append(Notice("previous_webhook_password", "was removed: it had expired"))
            elif "webhook_password" in changes or is_another_way:
                notices.append(Notice("previous_webhook_password", "was removed, because webhook_password changed"))
        return notices

    def detach(self, session: Session, row: PhoneSystem) -> None:
        """Call records stay when their phone system goes."""
        calls.detach_phone_system(session, row.tenant_id, row.id)


def _keep_previous(row: PhoneSystem, keep_previous: timedelta) -> None:
    """Before the webhook password is replaced: make the one that the PBX has the previous one."""
    until, already_until = now() + keep_previous, row.previous_webhook_password_expires_at
    is_unused = row.webhook_password_set and row.webhook_password_used_at is None
    if keep_previous and is_unused and already_until is not None:
        row.grace_ends_at = max(until, already_until)
    else:
        row.previous_webhook_password = row.webhook_password if keep_previous else None
        row.grace_ends_at = until


def _check_secret(field: str, vendor: str, secret: str | None) -> None:
    """Raises :class:`~app.errors.Invalid` for a secret that is none of a phone system that makes it up."""
    length = authentication_of(vendor).secret_length
    if secret and length is not None and len(secret) != length:
        message = f"must be the {length} characters that the phone system shows as its secret"
        raise Invalid("The request is not valid: see errors.", [{"field": field, "message": message}])


def _make_password() -> str:
    return secrets.token_urlsafe(24)


phone_systems = PhoneSystems(PhoneSystem, "phone_system", secret="password", sent_to=["base_url"])
