"""URLs that tenants give us: one reading of them, for what is stored and for what is connected to.

A second reading is how a check is got around: one takes for the host what the other takes for a user name. This one is
the WHATWG's, as in browsers, so that ``127.1``, ``0x7f.1`` and ``①②⑦.0.0.1`` are 127.0.0.1 from here on.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

_http_url: Final[TypeAdapter[AnyHttpUrl]] = TypeAdapter(AnyHttpUrl)

# A browser would repair a missing slash, backslashes and blanks; whoever writes those did not mean what it makes of it.
_WRITTEN: Final = re.compile(r"https?://[^\s\x00-\x1f\x7f\\/][^\s\x00-\x1f\x7f\\]*", re.IGNORECASE)

# Ports of other services, that would take a request for something of their own: those that browsers refuse
# (https://fetch.spec.whatwg.org/#port-blocking), and of databases.
_OF_OTHERS: Final = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
    531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
    5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 3306, 5432, 6379, 11211, 27017
})  # fmt: skip


class Target(NamedTuple):
    """What a URL says. host: a name in ASCII, or an IP address without brackets. path: with the query."""

    is_https: bool
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_https else 80) else f"{host}:{self.port}"


def target_of(text: str) -> Target:
    """Where a request for this URL goes. Raises ValueError as :func:`read_url` does."""
    url = read_url(text)
    path = url.path or "/"
    return Target(
        is_https=url.scheme == "https",
        host=(url.host or "").strip("[]"),
        port=url.port or 0,
        path=path if url.query is None else f"{path}?{url.query}",
    )


def base_url_of(text: str) -> str:
    """The URL that others begin with, in one spelling: a change of where it leads is a change of this text.

    Raises ValueError as :func:`read_url` does, and for a query.
    """
    url = read_url(text)
    if "?" in text:
        raise ValueError("must have neither a query nor a fragment")
    return str(url).rstrip("/")


def read_url(text: str) -> AnyHttpUrl:
    """A URL that a request may be sent to, as far as the URL shows. Raises ValueError with what it must be."""
    if not _WRITTEN.fullmatch(text):
        raise ValueError("must be an http:// or https:// URL")
    try:
        url = _http_url.validate_python(text)
    except ValidationError:
        raise ValueError("must be an http:// or https:// URL") from None
    if "#" in text:
        raise ValueError("must have neither a query nor a fragment")
    if url.username is not None or url.password is not None:
        raise ValueError("must have no user name or password in it")
    if url.port in _OF_OTHERS:
        raise ValueError("must not have the port of another service than HTTP")
    return url
