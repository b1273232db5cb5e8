"""The service as the unit of systemd starts it, with Alice's account, for proxies to stand in front of."""

import configparser
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app import create_app
from app.config import PROJECT, load_settings
from app.extensions import db
from tests.conftest import PASSWORD
from tests.servers import free_port
from tests.test_serving import environment, started, wait_for_answer

HOST = "app.acme.example"  # in the files that the pages hand out
ALICE = "alice@acme.example"


def unit(name: str) -> configparser.ConfigParser:
    """A unit of systemd. Of a key that is there more than once the last one is left."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((PROJECT / "deploy/systemd" / name).read_text())
    return parser


@pytest.fixture(scope="session")
def serving(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of gunicorn, in production, with one proxy in front."""
    folder, port = tmp_path_factory.mktemp("serving"), free_port()
    shutil.copy(migrated_sqlite, folder / "audiapro.db")
    variables = {
        "APP_ENV": "production",
        "DATABASE_URL": f"sqlite:///{folder / 'audiapro.db'}",
        "TRUSTED_PROXY_HOPS": "1",
        "WEB_CONCURRENCY": "1",
        "RATELIMIT_SIGN_IN": "1000 per minute",
    }
    app = create_app(load_settings(environment(**variables), None))
    words = ["--name", "Acme", "--subdomain", "acme", "--admin-email", ALICE]
    created = app.test_cli_runner().invoke(args=["create-tenant", *words], input=f"{PASSWORD}\n")
    assert created.exit_code == 0, created.output
    with app.app_context():
        db.engine.dispose()
    _, *arguments = unit("audiapro-web.service")["Service"]["ExecStart"].split()
    command = [argument.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for argument in arguments]
    with started([sys.executable, "-m", "gunicorn", *command], folder / "log", **variables) as process:
        wait_for_answer(port, process)
        yield port


class Certificate(NamedTuple):
    """For HOST, signed by itself, in PEM."""

    certificate: bytes
    key: bytes


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def code_blocks(page: str, language: str = "sh") -> list[str]:
    """What a page tells its reader to type."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL)
