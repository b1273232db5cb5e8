"""Web origins (RFC 6454, section 6.2) as they are configured in CORS_ORIGINS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final

_ORIGIN: Final = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:]+\])(?::([1-9][0-9]{0,4}))?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_USUAL_PORT: Final = {"http": "80", "https": "443"}


def split_origins(text: str) -> tuple[str, ...]:
    """The origins of a comma-separated list."""
    return tuple(origin for one in text.split(",") if (origin := one.strip()))


def check_origins(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with CORS_ORIGINS. No sentence repeats a value.

    What no browser sends in ``Origin`` would never match. ``*`` is everybody, and ``null`` whoever hides where they
    come from.
    """
    https_only = values["APP_ENV"] != "development"
    if not all(_is_origin(origin, https_only) for origin in split_origins(values["CORS_ORIGINS"])):
        yield (
            "CORS_ORIGINS must be origins as browsers send them, such as https://app.your-domain: in lower case, "
            "without a path, a slash at the end or the usual port; neither * nor null; in production https, but for "
            "loopback."
        )


def _is_origin(text: str, https_only: bool) -> bool:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return False
    scheme, host, port = found.groups()
    if port == _USUAL_PORT[scheme] or int(port or 1) > 65_535:
        return False
    return _is_host(host) and (scheme == "https" or not https_only or _is_loopback(host))


def _is_host(host: str) -> bool:
    """Whether this is a name or an address, and written as a browser writes it."""
    try:
        if host.startswith("["):
            return host == f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        if host.rpartition(".")[2].isdecimal():
            return host == str(ipaddress.IPv4Address(host))
    except ValueError:
        return False
    return all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]") or (host.startswith("127.") and host.rpartition(".")[2].isdecimal())
