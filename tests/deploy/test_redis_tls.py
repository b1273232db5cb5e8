"""A Redis behind TLS whose certificate nobody signed, as Heroku's."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.config import Settings
from app.url_checks import redis_url as completed
from tests.conftest import running
from tests.deploy.conftest import Certificate
from tests.servers import TcpProxy

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def heroku(redis_url: str, certificate: Certificate, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "pem").write_bytes(certificate.key + certificate.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with TcpProxy(redis_url, context) as proxy:
        yield proxy.url.replace("redis://", "rediss://")


@pytest.mark.parametrize(("checked", "status"), [(True, 503), (False, 401)])
def test_it_counts_once_the_operator_does_without_the_certificate(
    settings: Settings, heroku: str, checked: bool, status: int
) -> None:
    with running(replace(settings, redis_url=completed(heroku, checked))) as app:
        app.extensions["encryption"].checked = True
        assert app.test_client().get("/api/me").status_code == status
