"""Phone systems with two secrets each, loaded by COPY: as the service seals them, or as a plain Fernet column would."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import psycopg

from app.database import uuid7
from app.encryption import sealed
from app.encryption.keyring import Context
from bench.setting import KEYS, plain_fernet, run_flask
from tests.servers import Postgres

WEBHOOK_PASSWORD = b"webhook-bench-password"
Sealer = Callable[[str, UUID, UUID, bytes], str]


def sealed_under_a(column: str, tenant: UUID, row: UUID, plaintext: bytes) -> str:
    return sealed.seal(KEYS["A"], Context(f"phone_systems.{column}", str(tenant), str(row)), plaintext)


def plain_under_a(column: str, tenant: UUID, row: UUID, plaintext: bytes) -> str:
    """A token under the master key itself, in the format that the table's constraints want."""
    return f"v1:{KEYS['A'].id}:{PLAIN.encrypt(plaintext).decode()}"


PLAIN = plain_fernet(KEYS["A"])


def load(postgres: Postgres, name: str, rows: int, seal: Sealer = sealed_under_a) -> str:
    """Make a migrated database with one tenant and ``rows`` phone systems. Returns its URL."""
    url = postgres.create_database(name)
    run_flask(url, "db", "upgrade")
    run_flask(url, "rotate-encryption-key")  # registers key A
    tenant = uuid7()
    with psycopg.connect(url) as connection:
        insert = "INSERT INTO tenants (id, name, subdomain, time_zone, created_at, updated_at)"
        connection.execute(f"{insert} VALUES (%s, 'Bench', 'bench', 'UTC', now(), now())", (tenant,))
        copy = "COPY phone_systems (id, tenant_id, name, vendor, password_encrypted, webhook_username,"
        copy += " webhook_password_encrypted, created_at, updated_at) FROM STDIN"
        with connection.cursor().copy(copy) as copied:
            for number in range(rows):
                row = uuid7()
                password = seal("password", tenant, row, b"pbx-password-%011d" % number)
                webhook = seal("webhook_password", tenant, row, WEBHOOK_PASSWORD)
                copied.write_row((row, tenant, "PBX", "asterisk", password, "pbx", webhook, "now", "now"))
    settle(url)
    return url


def settle(url: str) -> None:
    """What autovacuum and the checkpointer would do sooner or later, so that they do not do it while we measure."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) phone_systems")
        connection.execute("CHECKPOINT")
