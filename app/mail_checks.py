"""What speaks against the configuration of mail: by itself, and together.

No sentence repeats a value. :mod:`app.config` reports them all at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.headerregistry import Address
from email.utils import parseaddr
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email


def check_mail(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with RESEND_API_KEY, RESEND_FROM_EMAIL and PUBLIC_URL."""
    key, sender, url = (values[name] for name in ("RESEND_API_KEY", "RESEND_FROM_EMAIL", "PUBLIC_URL"))
    if not re.fullmatch(r"[!-~]*", key):  # what a header cannot hold, the HTTP library would quote in its error
        yield "RESEND_API_KEY has blanks, line breaks or other characters that no API key has. Copy it again."
    if sender and not _is_sender(sender):
        yield "RESEND_FROM_EMAIL must be an address, or a name and an address: AudiaPro <no-reply@mail.your-domain>."
    if url and not _is_public_url(url, values["APP_ENV"] != "development"):
        yield (
            "PUBLIC_URL must be an absolute URL without user, query or fragment, in production with https: "
            "https://app.your-domain."
        )
    for name, value in (("RESEND_FROM_EMAIL", sender), ("PUBLIC_URL", url)):
        if key and not value and (name != "PUBLIC_URL" or values["APP_ENV"] != "development"):
            yield f"{name} must be set where RESEND_API_KEY is: no mail can be written without it."


def _is_sender(text: str) -> bool:
    """Whether this is one address, with or without a name, and nothing that would begin a second header."""
    name, address = parseaddr(text)
    try:
        validate_email(address, check_deliverability=False, globally_deliverable=False)
        return text.isprintable() and text in (address, f"{name} <{address}>", str(Address(name, addr_spec=address)))
    except (EmailNotValidError, ValueError):
        return False


def _is_public_url(text: str, https_only: bool) -> bool:
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    schemes = ("https",) if https_only else ("https", "http")
    return (
        has_host
        and url.scheme in schemes
        and re.fullmatch(r"[!-~]+", text) is not None
        and not {*"@?#<>\\\"'"} & {*text}
    )
