"""Whether Redis counts."""

from __future__ import annotations

from typing import Final

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

_SCRATCH: Final = "audiapro:scratch"


def why_not(url: str, patience: float) -> str | None:
    """Why Redis does not count under this URL: the kind of error; None if it does. It may answer and have no room left.

    Asks once, over a new connection.

    patience: seconds for the connection, and for each answer.
    """
    try:
        with Redis.from_url(
            url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0)
        ) as redis:
            redis.set(_SCRATCH, 1, ex=1)
    except (RedisError, OSError, ValueError) as error:
        return type(error).__name__
    return None
