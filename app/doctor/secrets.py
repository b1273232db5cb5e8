"""A secret is stored, looked at as it lies there, and read: in a transaction that is rolled back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from flask import current_app
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.doctor.findings import Finding, failure, ok, warning
from app.encryption import AppEncryption, EncryptionError
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant

SUBJECT = "stored secrets"


def check() -> Iterator[Finding]:
    """In the system's scope. What is made here nobody else ever sees."""
    session: Session = db.session()
    encryption: AppEncryption = current_app.extensions["encryption"]
    if encryption.keyring.primary.id not in encryption.registry.registered(session.connection()):
        yield warning(SUBJECT, "Not tried: no secret is stored before the service has started with this key.")
        return
    try:
        yield _round_trip(session)
    except EncryptionError as error:
        yield failure(SUBJECT, f"A secret that was just stored does not open: {error}")
    finally:
        session.rollback()


def _scratch(session: Session, secret: str) -> PhoneSystem:
    name = f"doctor-{secrets.token_hex(8)}"
    row = PhoneSystem(tenant=Tenant(name=name, subdomain=name), name=name, vendor="asterisk", password=secret)
    session.add(row)
    session.flush()
    return row


def _round_trip(session: Session) -> Finding:
    secret = secrets.token_urlsafe(16)
    row = _scratch(session, secret)
    stored = session.execute(
        text("SELECT password_encrypted FROM phone_systems WHERE name = :name"), {"name": row.name}
    ).scalar_one()
    session.expire(row)
    if secret in stored or row.password != secret:
        return failure(SUBJECT, "A secret is not read as it was stored. Take the service down and report this.")
    return ok(SUBJECT, "one was sealed, stored, opened and thrown away")
