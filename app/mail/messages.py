"""What AudiaPro writes to people: each message with what it needs, rendered as text and as HTML.

A token stands in the fragment of its link, after the ``#``. A browser sends that to nobody (RFC 9110, section 4.2.5):
it is in no log of a server or a proxy, in no Referer header, and whoever opens links only to look at them, as mail
scanners do, does not use it up. The page takes it from there and posts it.

Names that people chose are data: the templates escape them in HTML, and quote them in text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from app.errors import Invalid

LONGEST_NAME: Final = 80

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]+")  # the unreserved characters of RFC 3986: the same however written
_DIRECTIONS: Final = re.compile(r"[\u202a-\u202e\u2066-\u2069]")  # let the rest of a line read as something else
_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, repr=False)
class Message:
    """What all messages have. ``kind`` names the templates, too; ``subject`` may refer to the fields."""

    kind: ClassVar[str]
    subject: ClassVar[str]


@dataclass(frozen=True, repr=False)
class MessageWithLink(Message):
    """A message with a link that works once, until ``expires_at``. ``token``: what it gives to the page ``path``."""

    path: ClassVar[str]
    token: str
    expires_at: datetime

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.token):
            raise ValueError("a token consists of letters, digits and . _ ~ -")


@dataclass(frozen=True, repr=False)
class ConfirmSignUp(MessageWithLink):
    """To whoever wants a tenant of their own. Says nothing that they chose: it may be somebody else's address."""

    kind = "confirm_sign_up"
    subject = "Confirm that you want to use AudiaPro"
    path = "/sign-up/confirm"


@dataclass(frozen=True, repr=False)
class VerifyEmail(MessageWithLink):
    """To a new address: does it belong to whoever gave it?"""

    kind = "verify_email"
    subject = "Confirm your e-mail address"
    path = "/verify-email"


@dataclass(frozen=True, repr=False)
class Invitation(MessageWithLink):
    """To somebody whom a tenant wants on its team. ``invited_by``: the e-mail address of who asked for it."""

    kind = "invitation"
    subject = "“{tenant_name}” invites you to AudiaPro"
    path = "/accept-invitation"
    tenant_name: str
    invited_by: str


@dataclass(frozen=True, repr=False)
class ResetPassword(MessageWithLink):
    """To a user who has forgotten the password."""

    kind = "reset_password"
    subject = "Set a new password"
    path = "/reset-password"


@dataclass(frozen=True, repr=False)
class NoAccount(Message):
    """In place of :class:`ResetPassword` to an address without an account: whoever asks learns nothing from the answer,
    and whoever owns the address learns why no link comes."""

    kind = "no_account"
    subject = "There is no account for your address"
    asked_at: datetime


@dataclass(frozen=True, repr=False)
class EmailChangeRequested(Message):
    """To the address that an account has until the link in the mail to ``new_email`` is used."""

    kind = "email_change_requested"
    subject = "Somebody wants to change your e-mail address"
    new_email: str
    asked_at: datetime


@dataclass(frozen=True, repr=False)
class EmailChanged(Message):
    """To the former address, which is how its owner hears of it."""

    kind = "email_changed"
    subject = "Your e-mail address was changed"
    changed_at: datetime


@dataclass(frozen=True, repr=False)
class PasswordChanged(Message):
    kind = "password_changed"
    subject = "Your password was changed"
    changed_at: datetime


@dataclass(frozen=True, repr=False)
class SecondFactorRemoved(Message):
    kind = "second_factor_removed"
    subject = "Two-factor authentication was switched off"
    removed_at: datetime


@dataclass(frozen=True, repr=False)
class NewApiKey(Message):
    """To the owners of a tenant. ``key_name``: what its maker calls the key; ``made_by``: an e-mail address."""

    kind = "new_api_key"
    subject = "A new API key for “{tenant_name}”"
    tenant_name: str
    key_name: str
    made_by: str
    made_at: datetime


def render(message: Message, public_url: str) -> dict[str, str]:
    """The message's ``subject``, ``text`` and ``html``.

    public_url: where users reach this installation, from the configuration: a Host header is anybody's to choose.

    Raises :class:`~app.errors.Invalid` for a name with a line break, which could begin another header.
    """
    fields = {name: _shown(name, value) for name, value in vars(message).items()}
    if isinstance(message, MessageWithLink):
        fields["link"] = f"{public_url}{message.path}#{message.token}"
    fields |= {"subject": message.subject.format_map(fields), "public_url": public_url}
    text, html = (_templates.get_template(f"{message.kind}.{form}").render(fields) for form in ("txt", "html"))
    return {"subject": fields["subject"], "text": text, "html": html}


def _shown(name: str, value: str | datetime) -> str:
    """A time as people write it, in UTC; a text on one line, short enough for a subject."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in value):
        raise Invalid("The mail cannot be written.", [{"field": name, "message": "must be a single line of text"}])
    text = _DIRECTIONS.sub("", value)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
