"""AWS Secrets Manager and AWS KMS, as moto imitates them."""

import signal
import socket
import sys
from typing import Any

import boto3
from botocore.config import Config

from tests.servers.process import LOOPBACK, Server

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-K7MDENG-bPxRfiCY"}


class Aws(Server):
    """Whatever the region and the credentials: each region has its own secrets."""

    def __init__(self) -> None:
        super().__init__("aws", signal.SIGTERM)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.secrets = self._client("secretsmanager")
        self.keys = self._client("kms")
        try:
            self._launch([sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)])
        except BaseException:
            self.close()
            raise

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that uses this."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION}

    def close(self) -> None:
        self.secrets.close()
        self.keys.close()
        super().close()

    def _client(self, service: str) -> Any:
        session = boto3.session.Session(*CREDENTIALS.values(), region_name=REGION)
        return session.client(service, endpoint_url=self.url, config=Config(connect_timeout=10, read_timeout=30))

    def _is_ready(self, pid: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0
