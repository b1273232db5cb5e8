"""Hosts that a tenant could have chosen: a server that says byte for byte what a test wants, under names of its own."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.outbound.addresses import networks_of
from app.outbound.client import Outbound
from tests.servers.process import LOOPBACK, Closing

NAME = "pbx.acme.example"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DAY = datetime.timedelta(days=1)

Talk = Callable[[socket.socket, threading.Event], None]


def says(*pieces: bytes) -> Talk:
    """Sends these, and closes."""

    def talk(connection: socket.socket, closing: threading.Event) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return talk


ANSWERS = says(OK)


def drips(start: bytes, drop: bytes) -> Talk:
    """Sends ``drop`` again and again, each time soon, without an end."""

    def talk(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(start)
        while not closing.wait(0.01):
            connection.sendall(drop)

    return talk


def is_silent(connection: socket.socket, closing: threading.Event) -> None:
    closing.wait()


@dataclass
class Host(Closing):
    """Listens from the start. talk: what it does once the head of a request is there. context: for TLS. heads: those
    that came. indications: the names that TLS clients asked for. connections: how many there were."""

    talk: Talk = ANSWERS
    context: ssl.SSLContext | None = None
    heads: list[bytes] = field(default_factory=list)
    indications: list[str | None] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._closing = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        if self.context is not None:
            self.context.sni_callback = lambda _, name, __: self.indications.append(name)
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:  # the client may leave, or refuse our certificate
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (piece := connection.recv(65_536)):
                        return
                    head += piece
                self.heads.append(head)
                self.talk(connection, self._closing)

    def close(self) -> None:
        self._closing.set()
        socket.create_connection((LOOPBACK, self.port)).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


class Names:
    """What names stand for, instead of the machine's own look-up; addresses are looked up as always.

    ``asked``: each name that was looked up, as often as it was.
    """

    def __init__(self) -> None:
        self.known: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def set(self, name: str, *answers: list[str]) -> None:
        """The addresses of a name: those of the first look-up, of the second, and so on; the last ones stay."""
        self.known[name] = list(answers)

    def look_up(self, host: str, port: int, *args: object, **options: object) -> list[tuple]:
        with suppress(ValueError):
            ipaddress.ip_address(host)
            return self._real(host, port, *args, **options)
        self.asked.append(host)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self.known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for one in addresses for found in self._real(one, port, type=socket.SOCK_STREAM)]


class Authority:
    """Issues certificates. It is known to nobody unless somebody is given ``pem``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.pem = _pem(self.certificate)

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
        since: datetime.timedelta = -DAY,
        until: datetime.timedelta = DAY,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
        )
        for extension in extensions:
            built = built.add_extension(extension, critical=False)
        return built.sign(self._key, hashes.SHA256())

    def context(self, name: str = NAME, **validity: datetime.timedelta) -> ssl.SSLContext:
        """Of a server with a certificate for a name or an address, which is ``last_pem`` then."""
        with_type: x509.GeneralName = x509.DNSName(name)
        with suppress(ValueError):
            with_type = x509.IPAddress(ipaddress.ip_address(name))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        certificate = self._signed(subject, key, x509.SubjectAlternativeName([with_type]), **validity)
        self.last_pem = _pem(certificate)
        return _server_context(self._folder / "server.pem", certificate, key)

    def own_context(self) -> ssl.SSLContext:
        """Of a server that has the authority's own certificate, signed by itself, for no name."""
        return _server_context(self._folder / "own.pem", self.certificate, self._key)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _server_context(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    unencrypted = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    path.write_text(_pem(certificate) + private.decode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def names(monkeypatch) -> Names:
    names = Names()
    names.set(NAME, [LOOPBACK])
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    return names


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def outbound() -> Outbound:
    """May reach this machine, as an operator may allow it."""
    return Outbound(networks_of(f"{LOOPBACK}/32"))


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as host:
        yield host
