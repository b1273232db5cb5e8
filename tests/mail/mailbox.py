"""What people find in their mail, for tests of what they do with it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import resend

from app.config import Settings
from tests.conftest import make_settings, wait_for_senders
from tests.mail.provider import API_KEY, Provider


@dataclass(frozen=True)
class Mailbox:
    """Everybody's."""

    provider: Provider

    def of(self, address: str) -> list[Any]:
        """The mails to that address, in the order in which they were sent."""
        wait_for_senders()
        return [mail for mail in self.provider.mails if mail["to"] == [address]]

    def subjects(self, address: str) -> list[str]:
        return [mail["subject"] for mail in self.of(address)]

    def token(self, address: str) -> str:
        """From the link in the newest mail to that address."""
        (token,) = re.findall(r"https://audiapro\.example/[a-z/-]+#(\S+)", self.of(address)[-1]["text"])
        return str(token)


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with Provider() as provider:
        monkeypatch.setattr(resend, "api_url", provider.url)
        yield Mailbox(provider)
        wait_for_senders()


@pytest.fixture
def settings(database_url: str, mailbox: Mailbox) -> Settings:
    return make_settings(database_url, resend_api_key=API_KEY)
