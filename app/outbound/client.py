"""Sending one request, and what comes back."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from threading import Thread
from typing import Any, Final

from app.outbound.addresses import Network
from app.outbound.certificates import pinned_context, system_context
from app.outbound.exchange import USUAL, Exchange, Limits, Request
from app.outbound.failures import AddressRefused, NotSendable, NotUnderstood, TookTooLong
from app.outbound.urls import target_of

_HEADER: Final = re.compile(r"[A-Za-z0-9-]+: [\t -~]*")


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer with any status but a redirect's. headers: ``headers["name"]`` is one or None, in any case of letters.
    body: decompressed."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises :class:`~app.outbound.failures.NotUnderstood`."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise NotUnderstood("answers something else than JSON") from None

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.body)} bytes>"


class Outbound:
    """Sends requests to addresses that tenants choose. Threads may share it.

    allowed: networks that may be reached besides public addresses.
    """

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        pem: str | None = None,
        limits: Limits = USUAL,
    ) -> Answer:
        """The answer to one request over a connection of its own.

        pem: certificates to trust instead of the system's authorities.

        Raises a kind of :class:`~app.outbound.failures.OutboundFailure`, at the latest when ``limits.total`` is over.
        """
        try:
            target = target_of(url)
        except ValueError as error:
            raise AddressRefused(f"the address {error}") from None
        fields = {"User-Agent": "AudiaPro"} | {name.title(): value for name, value in (headers or {}).items()}
        fields |= {"Host": target.host_header, "Connection": "close"}
        if not all(_HEADER.fullmatch(f"{name}: {value}") for name, value in fields.items()):
            raise NotSendable  # the library's own error would quote it
        context = self._context(pem) if target.is_https else None
        return _within(limits.total, Exchange(Request(method, target, fields, body), context, self._allowed, limits))

    def _context(self, pem: str | None) -> ssl.SSLContext:
        return self._system if pem is None else pinned_context(pem)

    @cached_property
    def _system(self) -> ssl.SSLContext:
        return system_context()


def basic(username: str, password: str) -> str:
    """The value of ``Authorization`` for a name and a password (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _within(seconds: float, exchange: Exchange) -> Answer:
    """What the exchange brings. It has a thread of its own, because nothing else ends a look-up of a name, and because
    bytes that come one at a time never meet the time-out of a socket."""
    result: Future[Answer] = Future()

    def run() -> None:
        try:
            result.set_result(Answer(*exchange.run()))
        except BaseException as error:  # it is raised where it is waited for
            result.set_exception(error)

    Thread(target=run, name="outbound", daemon=True).start()
    try:
        return result.result(seconds)
    except NotInTime:
        exchange.give_up()
        raise TookTooLong(seconds) from None
