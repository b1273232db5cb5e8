"""Counting: in Redis where there is one, so that all processes count together; else each in its own memory.

Without an answer of Redis nothing that is counted is done: the storage's error becomes a 503.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from flask import Flask, current_app, request
from limits import RateLimitItem
from limits.storage import RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import TooManyRequests
from app.limits.limit import Limit
from app.limits.memory import Memory
from app.metrics.counted import counted

P = ParamSpec("P")
R = TypeVar("R")

TOO_MANY_REQUESTS: Final = "Too many requests: wait before trying again."
NOWHERE: Final = "nowhere"
REDIS_TIMEOUT_SECONDS: Final = 2


def init_app(app: Flask, rates: Mapping[Limit, RateLimitItem], redis_url: str | None) -> None:
    """Count every request to the API, before anything else is done about it."""
    app.extensions["rates"] = rates
    app.extensions["rate_limiter"] = FixedWindowRateLimiter(_storage(redis_url))
    app.before_request(_count_request)


def _storage(redis_url: str | None) -> Storage:
    """A Redis that does not answer is reported in bounded time, not retried."""
    if redis_url is None:
        return Memory()
    options: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    return RedisStorage(redis_url.replace("unix://", "redis+unix://", 1), wrap_exceptions=True, **options)


def rate_limiter() -> FixedWindowRateLimiter:
    """What counts."""
    return cast(FixedWindowRateLimiter, current_app.extensions["rate_limiter"])


def rate(limit: Limit) -> RateLimitItem:
    """What is configured."""
    return cast(Mapping[Limit, RateLimitItem], current_app.extensions["rates"])[limit]


def count(limit: Limit, *whose: str, refusal: str = TOO_MANY_REQUESTS) -> None:
    """Count one more. ``whose``: what tells apart those who are counted by themselves.

    Raises :class:`~app.errors.TooManyRequests`, with the words of ``refusal``, when that is one too many.
    """
    spend(rate(limit), 1, limit.name, *whose, refusal=refusal)


def check(limit: Limit, *whose: str, refusal: str = TOO_MANY_REQUESTS) -> None:
    """As :func:`count`, without counting: whether one more would be too many."""
    item = rate(limit)
    if not rate_limiter().test(item, limit.name, *whose):
        raise _too_many(item, limit.name, *whose, refusal=refusal)


def spend(item: RateLimitItem, units: int, *whose: str, refusal: str) -> None:
    """Count several at once, in one question to the storage. ``whose`` begins with the name of the limit.

    Raises :class:`~app.errors.TooManyRequests`.
    """
    if not rate_limiter().hit(item, *whose, cost=units):
        raise _too_many(item, *whose, refusal=refusal)


def limited(limit: Limit) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a view: each call counts for the client's address, also one whose input is not valid."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            count(limit, client_network())
            return view(*args, **kwargs)

        return counted

    return decorate


def client_network() -> str:
    """For whom the request counts: see :func:`network_of`."""
    return network_of(request.remote_addr)


def network_of(address: str | None) -> str:
    """The IPv4 address, or the /64 network of an IPv6 address: a single customer has at least that many of those to
    choose from. What a proxy in front gives that is no address counts as one."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return NOWHERE
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), 64), strict=False))


def _count_request() -> None:
    if request.path.startswith("/api/"):
        count(Limit.API, client_network())


def _too_many(item: RateLimitItem, *whose: str, refusal: str) -> TooManyRequests:
    counted().limits_exceeded.labels(whose[0]).inc()  # which limit it is; who it is comes after that
    reset = rate_limiter().get_window_stats(item, *whose).reset_time
    return TooManyRequests(refusal, retry_after=max(1, round(reset - time.time())))
