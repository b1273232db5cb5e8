"""One PostgreSQL and one Redis for the whole run, held by the process that starts it; its workers get the addresses."""

from contextlib import ExitStack
from functools import cached_property
from typing import Any

import pytest

from tests.servers import FAST_BUT_NOT_DURABLE, Postgres, PostgresClient, Redis


class Servers:
    """Started when first asked for, closed at the end of the run."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self.close = self._running.close

    @cached_property
    def postgres(self) -> Postgres:
        return self._running.enter_context(Postgres(FAST_BUT_NOT_DURABLE))

    @cached_property
    def redis(self) -> Redis:
        return self._running.enter_context(Redis())


SERVERS = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[SERVERS] = servers = Servers()
        config.add_cleanup(servers.close)


@pytest.hookimpl(optionalhook=True)  # known to pytest-xdist alone, which a run may do without
def pytest_configure_node(node: Any) -> None:
    servers = node.config.stash[SERVERS]
    node.workerinput["postgres_url"] = servers.postgres.url()
    node.workerinput["redis_url"] = servers.redis.url


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresClient:
    """The run's cluster, shared by all workers: make databases under names of your own, and do not stop it."""
    worker: dict[str, str] | None = getattr(pytestconfig, "workerinput", None)
    return PostgresClient(worker["postgres_url"]) if worker else pytestconfig.stash[SERVERS].postgres


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """A database in the run's Redis that this worker has to itself."""
    worker: dict[str, str] | None = getattr(pytestconfig, "workerinput", None)
    if worker is None:
        return pytestconfig.stash[SERVERS].redis.url
    return f"{worker['redis_url'].removesuffix('/0')}/{worker['workerid'].removeprefix('gw')}"
