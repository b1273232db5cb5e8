"""nginx and Caddy with the files of deploy/, in front of gunicorn as systemd starts it. Only addresses are replaced."""

import json
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil
import pytest

from app import MAXIMUM_BODY_BYTES
from app.config import PROJECT
from app.web import STRICT_TRANSPORT_SECURITY
from tests.conftest import PASSWORD
from tests.deploy.conftest import ALICE, HOST, Certificate
from tests.servers import free_port
from tests.servers.proxies import Caddy, Nginx, WebProxy

# Every address of 127/8 is this machine's on Linux alone.
CLIENT = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
FORGED = "198.51.100.77"
SLOW_CLIENTS = 8  # the service has four threads


def replaced(text: str, **by: str) -> str:
    """``text`` with each of the words in place of what stands there; all of them have to."""
    for old, new in by.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(port: int, plain: int, certificate: Certificate) -> Nginx:
    def configure(folder: Path, listens_on: int) -> str:
        text = re.sub(r"\n +listen \[::\]:.*", "", (PROJECT / "deploy/nginx/audiapro.conf").read_text())
        return replaced(
            text,
            **{
                "listen 80;": f"listen 127.0.0.1:{plain};",
                "listen 443 ssl": f"listen 127.0.0.1:{listens_on} ssl",
                f"/etc/letsencrypt/live/{HOST}": str(folder),
                "127.0.0.1:8000": f"127.0.0.1:{port}",
            },
        )

    return Nginx("nginx", {"fullchain.pem": certificate.certificate, "privkey.pem": certificate.key}, configure)


def caddy(port: int, plain: int, certificate: Certificate) -> Caddy:
    def configure(folder: Path, listens_on: int) -> str:
        own = f"https_port {listens_on}\n\thttp_port {plain}\n\tadmin off\n"
        return replaced(
            (PROJECT / "deploy/caddy/Caddyfile").read_text(),
            **{
                "{\n\tservers {": f"{{\n\t{own}\tdefault_bind 127.0.0.1\n\tservers {{",
                f"\n{HOST} {{\n": f"\n{HOST} {{\n\ttls {folder}/fullchain.pem {folder}/privkey.pem\n",
                "127.0.0.1:8000": f"127.0.0.1:{port}",
            },
        )

    return Caddy("caddy", {"fullchain.pem": certificate.certificate, "privkey.pem": certificate.key}, configure)


@pytest.fixture(scope="module")
def plain_port() -> int:
    """Where a proxy listens without TLS."""
    return free_port()


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, serving: int, plain_port: int, certificate: Certificate
) -> Iterator[WebProxy]:
    with request.param(serving, plain_port, certificate) as running:
        yield running


@pytest.fixture
def trust(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=certificate.certificate.decode())
    return context


class Visitor:
    """Somebody with a browser, at CLIENT."""

    def __init__(self, proxy: WebProxy, trust: ssl.SSLContext) -> None:
        self._port, self._trust = proxy.port, trust

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=60, source_address=(CLIENT, 0))
        return self._trust.wrap_socket(plain, server_hostname=HOST)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(HOST)
        connection.sock = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


@pytest.fixture
def visitor(proxy: WebProxy, trust: ssl.SSLContext) -> Visitor:
    return Visitor(proxy, trust)


def test_the_program_finds_nothing_wrong_with_the_file(proxy: WebProxy) -> None:
    checked = proxy.check()
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr.lower()
    if isinstance(proxy, Caddy):
        formatted = proxy.formatted(PROJECT / "deploy/caddy/Caddyfile")
        assert formatted == (PROJECT / "deploy/caddy/Caddyfile").read_text()


def test_the_service_sees_the_clients_own_address_whatever_the_client_says(visitor: Visitor) -> None:
    said = {"X_Forwarded_For": FORGED, "Forwarded": f"for={FORGED}", "X_Real_IP": FORGED}
    credentials = json.dumps({"email": ALICE, "password": PASSWORD})
    answer, body = visitor.ask("POST", "/api/login", credentials, Content_Type="application/json", **said)
    assert answer.status == 200, body
    token = json.loads(body)["access_token"]
    answer, body = visitor.ask("GET", "/api/sessions", Authorization=f"Bearer {token}")
    assert {session["address"] for session in json.loads(body)["items"]} == {CLIENT}
    assert FORGED.encode() not in body


def test_no_proxy_of_this_machine_hands_on_a_path_that_the_client_has_moved(serving: int) -> None:
    """Asked directly: nginx and this Caddy remove such a header, an older Caddy does not."""
    with socket.create_connection(("127.0.0.1", serving), timeout=60) as connection:
        connection.sendall(b"GET /docs/healthz HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /docs\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).split(b" ")[1] == b"404"


def test_browsers_are_told_once_to_insist_on_tls(visitor: Visitor) -> None:
    for path in ("/healthz", "/sign-in", "/nowhere"):
        answer, _ = visitor.ask("GET", path)
        assert answer.headers.get_all("Strict-Transport-Security") == [STRICT_TRANSPORT_SECURITY]


def test_whoever_comes_without_tls_is_led_to_it(proxy: WebProxy, plain_port: int) -> None:
    connection = HTTPConnection("127.0.0.1", plain_port, timeout=60)
    connection.request("GET", "/sign-in?next=/calls", headers={"Host": HOST})
    answer = connection.getresponse()
    assert answer.status == 308
    assert re.fullmatch(rf"https://{HOST}(:{proxy.port})?/sign-in\?next=/calls", answer.headers["Location"])
    connection.close()


def test_a_body_may_be_as_large_as_the_service_takes_and_no_larger(visitor: Visitor) -> None:
    largest, _ = visitor.ask("POST", "/api/login", b" " * MAXIMUM_BODY_BYTES, Content_Type="application/json")
    assert largest.status == 400
    larger, _ = visitor.ask("POST", "/api/login", b" " * (MAXIMUM_BODY_BYTES + 1), Content_Type="application/json")
    assert larger.status == 413
    chunks = iter([b" " * MAXIMUM_BODY_BYTES, b" "])
    chunked, _ = visitor.ask("POST", "/api/login", chunks, Content_Type="application/json")
    assert chunked.status == 413


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_clients_that_are_slow_occupy_no_thread_of_the_service(visitor: Visitor, serving: int, length: str) -> None:
    head = f"POST /api/login HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    piece = b"1\r\n{\r\n" if "chunked" in length else b"{"
    with ExitStack() as open_connections:
        slow = [open_connections.enter_context(visitor.connect()) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(head.encode())
        for _ in range(3):
            for connection in slow:
                connection.sendall(piece)
            answer, _ = visitor.ask("GET", "/healthz", Connection="close")
            assert answer.status == 200
        # None of their requests is at the service, which has nothing to wait for.
        waiting = [
            connection
            for process in psutil.Process().children(recursive=True)
            for connection in process.net_connections("tcp")
            if connection.laddr[1] == serving and connection.status == psutil.CONN_ESTABLISHED
        ]
        assert len(waiting) <= 1  # kept open by the proxy for the next request
