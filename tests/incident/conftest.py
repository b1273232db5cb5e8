"""An installation that somebody broke into: its keys are old, and known to others."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from click.testing import Result
from sqlalchemy import select, update

from app.audit.models import AuditEvent
from app.config import Settings
from app.database import now
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity import tokens
from app.identity.models import OneTimeToken, SigningKey, User
from app.startup import check_start
from tests.conftest import in_database, running

FOR_LONG = timedelta(days=90)


class World:
    """An installation whose keys others may know, from the configurations before, in between and after."""

    def __init__(self, before: Settings) -> None:
        self.before = before
        self.old = before.keyring.primary
        self.new = MasterKey(secrets.token_bytes(32))
        self.during = replace(
            before,
            jwt_secret_key=secrets.token_urlsafe(48),
            keyring=Keyring(self.new, [self.old]),
        )
        self.after = replace(self.during, keyring=Keyring(self.new))
        self.isolated_at = now()

    def run(self, settings: Settings, *options: str, stdin: str = "") -> Result:
        with running(settings) as app:
            arguments = ["incident", "rotate-all", "--isolated", self.isolated_at.isoformat(), *options]
            result = app.test_cli_runner().invoke(args=arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        for key in (self.before.jwt_secret_key, self.during.jwt_secret_key):
            assert key not in result.output
        return result

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        with running(self.during) as app, in_database(app):
            wanted = select(AuditEvent).where(AuditEvent.tenant_id.is_(None)).order_by(AuditEvent.id)
            return [(event.action, event.details) for event in db.session.scalars(wanted)]


def jwt_id(settings: Settings) -> str:
    return tokens.SigningKeys([settings.jwt_secret_key]).current_id


@contextmanager
def started(settings: Settings) -> Iterator[APIFlask]:
    """The service as it is when it has passed the check at its start."""
    with running(settings) as app:
        with app.app_context():
            check_start(app, settings)
        yield app


@pytest.fixture
def world(app, settings, cast) -> World:
    """Months ago it was started; somebody is signed in, and has an account whose secret is stored."""
    with app.app_context():
        check_start(app, settings)
    registry = app.extensions["encryption"].registry
    answer = cast["alice"].client.post(
        "/api/payment-accounts", json={"provider": "paypal", "mode": "live", "client_secret": "canary-x"}
    )
    assert answer.status_code == 201
    with in_database(app):
        long_ago = now() - FOR_LONG
        db.session.execute(update(registry.keys).values(created_at=long_ago))
        db.session.execute(update(SigningKey).values(first_used_at=long_ago))
        db.session.execute(update(User).values(created_at=long_ago))
        db.session.add(
            OneTimeToken(
                user_id=cast["bob"].user_id,
                purpose="reset_password",
                token_hash="0" * 64,
                expires_at=now() + timedelta(hours=1),
            )
        )
        db.session.commit()
    return World(settings)
