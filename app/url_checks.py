"""What speaks against the URLs of the databases and of Redis, and how they are completed.

No sentence repeats a value. :mod:`app.config` reports them all at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from redis.connection import Connection, parse_url
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError


def check_urls(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with DATABASE_URL, ROTATION_DATABASE_URL and REDIS_URL."""
    for name in ("DATABASE_URL", "ROTATION_DATABASE_URL"):
        try:
            database_url(values[name], Path(), tls=True)
        except ValueError:
            yield (
                f"{name} is not the URL of a PostgreSQL or SQLite database. Write "
                "postgresql://user:password@host/name, with special characters of the password percent-encoded, or "
                "sqlite:////folder/file.db."
            )
    if values["REDIS_URL"] and not _is_redis_url(values["REDIS_URL"]):
        yield (
            "REDIS_URL is not a Redis URL. Write redis://:password@host:6379/0, rediss://… (TLS) or "
            "unix:///path/to/socket, and no options that Redis's client does not know."
        )
    if values["REDIS_CERTIFICATE"] not in ("checked", "unchecked"):
        yield "REDIS_CERTIFICATE must be checked or unchecked."


def redis_url(text: str, checked: bool) -> str:
    """The URL as redis-py is given it; an empty one stays empty.

    checked: whether the certificate of a Redis behind TLS must be one that this machine trusts. Without that the
    connection is encrypted all the same, but whoever can divert it can read along.
    """
    if checked or not text.startswith("rediss://"):
        return text
    return f"{text}{'&' if '?' in text else '?'}ssl_cert_reqs=none"


def database_url(text: str, folder: Path, tls: bool) -> str:
    """The URL as SQLAlchemy is given it: with our driver, and with an absolute path where it is an SQLite file.

    text: as configured; an empty one stays empty.
    folder: where a relative path of an SQLite file begins.
    tls: whether connections to other machines must be encrypted where the URL does not say how.

    Raises ValueError if it is no URL of a PostgreSQL or SQLite database that all processes can share.
    """
    if not text:
        return ""
    try:
        return _completed(make_url(text), folder, tls).render_as_string(hide_password=False)
    except ArgumentError:
        raise ValueError from None  # SQLAlchemy's message quotes the URL


def _completed(url: URL, folder: Path, tls: bool) -> URL:
    if url.drivername in ("sqlite", "sqlite+pysqlite") and not url.host:
        if not url.database or url.database.startswith((":memory:", "file:")):
            raise ValueError  # every process needs the same file, and its mode is ours to set
        return url.set(database=str(folder / url.database))
    # "postgres" is how Heroku spells it.
    if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg") or not 0 < (url.port or 5432) < 65_536:
        raise ValueError
    hosts = [url.host or "", *url.normalized_query.get("host", ()), *url.normalized_query.get("hostaddr", ())]
    hosts = [re.sub(r"(?<=[^:]):[0-9]+$", "", host) for host in ",".join(hosts).split(",") if host]
    if {"@", "#"} & {*f"{url.host}{url.database}"}:
        raise ValueError  # a piece of the password, which was not percent-encoded
    if not _are_options(url):
        raise ValueError
    url = url.set(drivername="postgresql+psycopg")
    if tls and "sslmode" not in url.query and not all(map(_is_local, hosts)):
        url = url.update_query_dict({"sslmode": "require"})
    return url


def _are_options(url: URL) -> bool:
    """Whether libpq knows the options behind the question mark. It says so of a wrong name at once, of a wrong sslmode
    only when it connects."""
    modes = url.normalized_query.get("sslmode", ())
    try:
        make_conninfo(**{name: values[-1] for name, values in url.normalized_query.items()})
    except ProgrammingError:
        return False
    return set(modes) <= {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}


def _is_local(host: str) -> bool:
    """Whether ``host``, as libpq reads it, is a Unix socket or this machine."""
    if host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_redis_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        options = parse_url(text)
        options.pop("max_connections", None)  # of the pool
        options.pop("connection_class", Connection)(**options)
    except (ValueError, TypeError):  # TypeError: of an option that there is not
        return False
    if url.scheme == "unix":
        return bool(url.path)
    has_number = re.fullmatch(r"/?[0-9]{0,9}", url.path) is not None  # of the database, which else would be 0
    return bool(url.hostname) and url.port != 0 and has_number
