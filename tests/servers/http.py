"""An HTTP server that answers as it is told to, over TLS if wanted: what clients make of answers that they dislike."""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.servers.process import LOOPBACK, Closing


class Asked(NamedTuple):
    path: str
    headers: Message
    body: bytes


class Answer(NamedTuple):
    """manner: "whole"; "never", until the server closes; or "in drops", each in good time, but without an end."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    location: str | None = None
    manner: str = "whole"


@dataclass
class HttpServer(Closing):
    """Listens from the start. ``asked``: every request. ``planned``: what the next ones are answered with, in turn;
    then ``answer`` is asked. certificate: a file with a certificate and its key, for TLS."""

    answer: Callable[[Asked], Answer] = lambda asked: Answer(404)
    certificate: Path | None = None
    asked: list[Asked] = field(default_factory=list)
    planned: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        server, self._closing = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                server.asked.append(asked := Asked(self.path, self.headers, body))
                self._give(server.planned.pop(0) if server.planned else server.answer(asked))

            do_POST = do_PUT = do_GET

            def _give(self, answer: Answer) -> None:
                if answer.manner == "never":
                    server._closing.wait()
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                if answer.location:
                    self.send_header("Location", answer.location)
                self.send_header("Content-Length", str(len(answer.body) or 1_000_000 * (answer.manner == "in drops")))
                self.end_headers()
                self.wfile.write(answer.body)
                while answer.manner == "in drops" and not server._closing.wait(0.02):
                    self.wfile.write(b" ")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client is gone, or speaks no TLS, as some tests want it."""

        self._listener = Listener((LOOPBACK, 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._listener.socket = context.wrap_socket(self._listener.socket, server_side=True)
        self.url = f"http{'s' if self.certificate else ''}://{LOOPBACK}:{self._listener.server_port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


def make_certificate(path: Path, address: str = LOOPBACK) -> Path:
    """A file with a certificate for an IP address, signed by itself, and its key. It is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "AudiaPro tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + pem)
    return path
