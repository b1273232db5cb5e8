"""The client's address, by which requests are counted, behind proxies and without."""

from dataclasses import replace

import pytest
from flask import request

from app import create_app
from app.config import Settings


def address_seen(settings: Settings, hops: int, forwarded: str) -> str | None:
    app = create_app(replace(settings, trusted_proxy_hops=hops))
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.remote_addr))
    app.test_client().get("/healthz", headers={"X-Forwarded-For": forwarded}, environ_base={"REMOTE_ADDR": "10.0.0.1"})
    return seen[0]


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "10.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 192.0.2.2", "203.0.113.9"),
    ],
)
def test_only_as_many_proxies_are_believed_as_were_configured(
    settings: Settings, hops: int, forwarded: str, expected: str
) -> None:
    assert address_seen(settings, hops, forwarded) == expected
