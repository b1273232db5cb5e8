"""An application that sends mail through a provider on this machine."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import resend
from apiflask import APIFlask
from sqlalchemy import select, text

from app.config import Settings
from app.database import now
from app.extensions import db
from app.mail import service
from app.mail.messages import Message, ResetPassword
from app.mail.models import Mail
from tests.conftest import make_settings, wait_for_senders
from tests.mail.provider import API_KEY, Provider

TO = "ada@acme.example"
TOKEN = "canary-3f9d2c71-one.time_token~9"


def reset(**changes: Any) -> ResetPassword:
    return ResetPassword(**{"token": TOKEN, "expires_at": now() + timedelta(days=2)} | changes)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with Provider() as provider:
        monkeypatch.setattr(resend, "api_url", provider.url)
        yield provider
        wait_for_senders()


@pytest.fixture
def settings(database_url: str, provider: Provider) -> Settings:
    return make_settings(database_url, resend_api_key=API_KEY)


@pytest.fixture
def later() -> Iterator[None]:
    """The process has its hands full: what is committed waits for ``flask send-mails``."""
    for _ in range(4):
        assert service._at_once.acquire(blocking=False)
    yield
    for _ in range(4):
        service._at_once.release()


@pytest.fixture
def queue(app: APIFlask) -> Callable[..., None]:
    """Queue mails, as a request does, and wait for what is sent at once."""

    def queue(*messages: Message, to: str = TO) -> None:
        with app.app_context():
            for message in messages or [reset()]:
                service.queue(db.session(), to, message)
            db.session.commit()
        wait_for_senders()

    return queue


@pytest.fixture
def send_due(app: APIFlask) -> Callable[[], dict[str, int]]:
    """Whatever waits is due now, and is sent as ``flask send-mails`` does it."""

    def send_due() -> dict[str, int]:
        with app.app_context():
            make_due()
            return {state.value: count for state, count in service.send_due(db.session()).items()}

    return send_due


@pytest.fixture
def stored(app: APIFlask) -> Callable[[], list[Mail]]:
    def stored() -> list[Mail]:
        with app.app_context():
            return list(db.session.scalars(select(Mail).order_by(Mail.id)))

    return stored


def make_due() -> None:
    """Let the pauses, and the claims of senders that died, be over."""
    db.session.execute(text("UPDATE mails SET due_at = created_at"))
    db.session.commit()
