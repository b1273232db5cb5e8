"""What a tenant is told about the encryption of its own secrets: how many there are, under which keys, and how the last
rotation went. No secret is read for it, and nothing of other tenants told."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

from flask import current_app
from sqlalchemy import Row, Select, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from app.encryption import AppEncryption, inventory
from app.encryption.connections import is_running
from app.encryption.registry import KeyRegistry
from app.encryption.storage import EncryptedColumn
from app.extensions import db

# What people call the secrets of each column.
LABELS: Final = {
    "api_credentials.secret": "API credential secrets",
    "api_keys.token_hash": "API key hashes",
    "payment_accounts.client_secret": "Payment account secrets",
    "phone_systems.password": "Phone system passwords",
    "phone_systems.previous_webhook_password": "Previous webhook passwords",
    "phone_systems.webhook_password": "Webhook passwords",
    "unreadable_deliveries.content": "Deliveries that were not understood",
}


class SecretKind(NamedTuple):
    """The secrets of one encrypted column. by_key: how many are under each key, by its id. oldest_changed_at and
    newest_changed_at: when they were set, None where there are none."""

    name: str
    label: str
    by_key: dict[str, int]
    oldest_changed_at: datetime | None
    newest_changed_at: datetime | None

    @property
    def secrets(self) -> int:
        return sum(self.by_key.values())


class KeyInUse(NamedTuple):
    """A key that secrets of the tenant are under. primary: whether new ones will be; that key is always listed."""

    id: str
    primary: bool
    registered_at: datetime
    secrets: int


class SecretsOverview(NamedTuple):
    """kinds: every one that there can be, by name. keys: the newest first."""

    kinds: list[SecretKind]
    keys: list[KeyInUse]

    @property
    def secrets(self) -> int:
        return sum(kind.secrets for kind in self.kinds)


class LastRotation(NamedTuple):
    """How the newest rotation of the whole service's secrets is going, or went.

    finished_at: None while it runs, and where it was broken off. percent: how much of what there was to seal anew is,
    rounded down; at 100 it may still be running, and prove that all of it opens. proved: whether that came out right.
    """

    from_key_ids: list[str]
    to_key_id: str
    started_at: datetime
    finished_at: datetime | None
    running: bool
    percent: int
    proved: bool


def own_columns() -> list[EncryptedColumn]:
    """The encrypted columns of the tables whose rows are a tenant's own."""
    return [
        column for column in inventory(db.metadata) if column.owner is not None and column.owner.name == "tenant_id"
    ]


def overview(session: Session, tenant_id: UUID) -> SecretsOverview:
    """The tenant's stored secrets, by kind and by key. One statement, however many there are."""
    encryption = _app_encryption()
    primary_id = encryption.keyring.primary.id
    rows = session.execute(_counts(encryption.registry, tenant_id, primary_id)).all()
    keys: dict[str, KeyInUse] = {}
    for row in rows:
        before = keys[row.id].secrets if row.id in keys else 0
        keys[row.id] = KeyInUse(row.id, row.id == primary_id, row.created_at, before + (row.secrets or 0))
    kinds = [_kind(column.name, [row for row in rows if row.kind == column.name]) for column in own_columns()]
    return SecretsOverview(kinds, list(keys.values()))


def last_rotation(session: Session) -> LastRotation | None:
    """The newest rotation, or None if there was none yet. Two statements at the most."""
    connection = session.connection()
    running = is_running(connection)  # asked first: one that ends meanwhile is then seen to be over, not broken off
    found = _app_encryption().registry.last_rotation(connection)
    if found is None:
        return None
    finished_at = found["finished_at"]
    proved = finished_at is not None and found["remaining"] == found["unreadable"] == 0
    return LastRotation(
        from_key_ids=[key_id for key_id in found["from_key_ids"].split(",") if key_id],
        to_key_id=found["to_key_id"],
        started_at=found["started_at"],
        finished_at=finished_at,
        running=running and finished_at is None,
        percent=100 if proved else _percent(found["rotated"], found["planned"]),
        proved=proved,
    )


def _percent(done: int, planned: int) -> int:
    """Others write and delete meanwhile: at the end it may have been more, or fewer, than was planned."""
    return min(100, 100 * done // planned) if planned else 100


def _app_encryption() -> AppEncryption:
    return cast(AppEncryption, current_app.extensions["encryption"])


def _counts(
    registry: KeyRegistry, tenant_id: UUID, primary_id: str
) -> Select[str, datetime, str, int, datetime, datetime]:
    """Selects, for each key and kind, how many of the tenant's values there are. Past the ORM, as the inventory has
    tables: so it says itself whose they are."""
    counted = union_all(
        *(
            select(
                literal(column.name).label("kind"),
                column.key_id.label("key_id"),
                func.count().label("secrets"),
                func.min(column.changed_at).label("oldest"),
                func.max(column.changed_at).label("newest"),
            )
            .where(column.table.c.tenant_id == tenant_id, column.key_id.is_not(None))
            .group_by(column.key_id)
            for column in own_columns()
        )
    ).subquery("counted")
    values = counted.c
    return (
        select(
            registry.keys.c.id, registry.keys.c.created_at, values.kind, values.secrets, values.oldest, values.newest
        )
        .outerjoin_from(registry.keys, counted, values.key_id == registry.keys.c.id)
        .where(or_(values.key_id.is_not(None), registry.keys.c.id == primary_id))
        .order_by(registry.keys.c.generation.desc(), values.kind)
    )


def _kind(name: str, rows: list[Row[str, datetime, str, int, datetime, datetime]]) -> SecretKind:
    return SecretKind(
        name=name,
        label=LABELS[name],
        by_key={row.id: row.secrets for row in rows},
        oldest_changed_at=min((row.oldest for row in rows if row.oldest), default=None),
        newest_changed_at=max((row.newest for row in rows if row.newest), default=None),
    )
