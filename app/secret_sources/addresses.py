"""Which addresses a secret may be fetched from."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_safe(url: str) -> bool:
    """Whether what is fetched there is not seen on the way: https, or http within this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host or parts.port == 0:
            return False
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def stays_here(url: str) -> bool:
    """Whether it is asked without TLS, on this machine: then no proxy may stand in between, which would read along."""
    return is_safe(url) and urlsplit(url).scheme == "http"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
