"""The proxies in front, and whom they say the client is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from apiflask import APIFlask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FORWARDED_FOR: Final = "X-Forwarded-For"


def check_proxies(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with CLIENT_ADDRESS_HEADER."""
    name = values["CLIENT_ADDRESS_HEADER"]
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", name):
        yield f"CLIENT_ADDRESS_HEADER must be the name of a header, such as {FORWARDED_FOR}."
    elif name.lower() != FORWARDED_FOR.lower() and not values["TRUSTED_PROXY_HOPS"].strip("0"):
        yield "CLIENT_ADDRESS_HEADER is believed of a proxy alone: set TRUSTED_PROXY_HOPS, too."
    elif name.lower() != FORWARDED_FOR.lower() and values["TRUSTED_PROXY_HOPS"] != "1":
        yield "CLIENT_ADDRESS_HEADER holds one address, whatever is in front: set TRUSTED_PROXY_HOPS to 1."


def believe_proxies(app: APIFlask, hops: int, address_header: str) -> None:
    """Take the client's address and scheme from what ``hops`` proxies in front add to the request. The host name that
    they forward is never believed.

    address_header: where they put the address.
    """
    if not hops:
        return
    proxied = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0, x_port=0, x_prefix=0)
    if address_header.lower() == FORWARDED_FOR.lower():
        app.wsgi_app = proxied  # type: ignore[method-assign]
        return
    given = f"HTTP_{address_header.upper().replace('-', '_')}"

    def take_address(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Also where it is missing: what the usual header says instead is not about the client, or of the client's own.
        environ["HTTP_X_FORWARDED_FOR"] = environ.get(given, "")
        return proxied(environ, start_response)

    app.wsgi_app = take_address  # type: ignore[method-assign]
