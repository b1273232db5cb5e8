"""How mail leaves this installation: through Resend, or, on a developer's machine, to standard error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import click
from flask import Flask, current_app

from app.config import Settings

NO_MAIL: Final = "No mail can be sent: RESEND_API_KEY is not set."


class NotSent(Exception):
    """The mail was not accepted. ``final``: trying again would not help.

    kind: a few words for the log, of ours. detail: what the provider says; it may quote the mail.
    """

    def __init__(self, kind: str, detail: str = "", *, final: bool = False) -> None:
        super().__init__(kind)
        self.kind, self.detail, self.final = kind, detail, final


class Transport(Protocol):
    """Something that takes mail."""

    def send(self, key: str, content: Mapping[str, str]) -> str | None:
        """Hand over a mail; one with a ``key`` that was accepted before is not sent a second time.

        content: ``from``, ``to``, ``subject``, ``text`` and ``html``. Returns the provider's id for it.
        Raises :class:`NotSent`.
        """


class Console:
    """Prints the mail's text, so that a developer can open the link."""

    def send(self, key: str, content: Mapping[str, str]) -> str | None:
        headers = "".join(f"{name.title()}: {content[name]}\n" for name in ("from", "to", "subject"))
        click.echo(f"\n{'-' * 30} mail\n{headers}\n{content['text']}\n{'-' * 30}", err=True)
        return None


@dataclass(frozen=True)
class Delivery:
    """What mails of an installation begin with, and how they leave it. ``transport``: None where they cannot."""

    transport: Transport | None
    sender: str
    public_url: str


def init_app(app: Flask, settings: Settings) -> None:
    """Deliver through Resend where a key is configured; without one print in development, and refuse in production."""
    transport: Transport | None = None
    if settings.resend_api_key is not None:
        # Imported where it is used only: it would make every command start a tenth slower.
        from app.mail.resend import Resend

        transport = Resend(settings.resend_api_key)
    elif settings.environment == "development":
        transport = Console()
    app.extensions["mail"] = Delivery(
        transport,
        settings.mail_from or "AudiaPro <no-reply@localhost>",
        settings.public_url or f"http://127.0.0.1:{settings.port}",
    )


def delivery() -> Delivery:
    """The current application's."""
    found: Delivery = current_app.extensions["mail"]
    return found
