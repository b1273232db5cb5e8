"""Stores of secrets, asked over real connections, and a configuration whose secrets are there."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from app.config import ConfigurationError, load_settings
from app.secret_sources import Patience
from tests.servers.aws import CREDENTIALS, REGION, Aws
from tests.servers.http import HttpServer
from tests.servers.vault import Vault

# For stores that answer at once or never.
HASTE = Patience(connect=5, read=0.3, attempts=2, wait=0.01, total=20)


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    """Shared: use names of your own."""
    with Aws() as aws:
        yield aws


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as vault:
        yield vault


@pytest.fixture
def anything() -> Iterator[HttpServer]:
    """A server that answers whatever is planned."""
    with HttpServer() as server:
        yield server


def vault_variables(server: HttpServer, token: str = "hvs.Zq7") -> dict[str, str]:
    """How Vault's client is configured."""
    return {"VAULT_ADDR": server.url, "VAULT_TOKEN": token}


def aws_variables(server: HttpServer) -> dict[str, str]:
    """How AWS's client is configured."""
    return CREDENTIALS | {"AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": REGION}


def fernet_key() -> str:
    return Fernet.generate_key().decode()


def environ(**changes: str) -> dict[str, str]:
    """A configuration that is accepted, changed."""
    return {"JWT_SECRET_KEY": secrets.token_urlsafe(48), "ENCRYPTION_KEY": fernet_key()} | changes


def refusal(variables: dict[str, str], env_file: Path | None = None, patience: Patience = HASTE) -> ConfigurationError:
    """The report of what is wrong with this configuration."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables, env_file, patience)
    return caught.value
