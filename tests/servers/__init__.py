"""Real servers for tests and benchmarks, imitations of AWS and Vault, a TCP proxy that cuts connections on demand, and
a browser.

A server has a folder of its own under the temporary directory, listens on a free loopback port behind a random
password, and takes everything with it when it closes, also when this process is killed.
"""

from tests.servers.postgres import FAST_BUT_NOT_DURABLE, Postgres, PostgresClient
from tests.servers.process import free_port
from tests.servers.proxy import TcpProxy
from tests.servers.redis import Redis

__all__ = ["FAST_BUT_NOT_DURABLE", "Postgres", "PostgresClient", "Redis", "TcpProxy", "free_port"]
