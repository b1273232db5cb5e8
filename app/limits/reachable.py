"""Whether Redis answers."""

from __future__ import annotations

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry


def why_not(url: str, patience: float) -> str | None:
    """Why Redis does not answer under this URL: the kind of error; None if it does. Asks once, over a new connection.

    patience: seconds for the connection, and for each answer.
    """
    try:
        with Redis.from_url(
            url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0)
        ) as redis:
            redis.ping()
    except (RedisError, OSError, ValueError) as error:
        return type(error).__name__
    return None
