"""What a rotation is compared with: its parts, each alone, and the loops that an application would write."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

from cryptography.fernet import MultiFernet
from sqlalchemy import String, Uuid, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.encryption import sealed
from app.encryption.batches import Part, SealedTable, sealed_tables
from app.encryption.connections import open_batches
from app.encryption.keyring import Context, Keyring, MasterKey
from app.extensions import db
from bench.setting import KEYS, plain_fernet

BATCH_SIZE = 1000
CRYPTO_VALUES = 40_000


def in_processes(processes: int, work: Callable[..., None], *arguments: object) -> float:
    """Seconds from when all processes are ready to when all are done. Each gets its number and the barrier first."""
    context = get_context("fork")
    barrier = context.Barrier(processes + 1)
    workers = [context.Process(target=work, args=(number, barrier, *arguments)) for number in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of the benchmark failed")
    return time.perf_counter() - start


def crypto_alone(processes: int) -> float:
    """Values a second opened under one key and sealed under another, without a database."""
    return processes * CRYPTO_VALUES / in_processes(processes, _crypto)


def _crypto(number: int, barrier: Barrier) -> None:
    keyring = Keyring(KEYS["B"], [KEYS["A"]])
    row = "0190a0a0-1111-7222-8333-444455556666"
    contexts = [Context("phone_systems.password", row, row), Context("phone_systems.webhook_password", row, row)]
    values = [sealed.seal(KEYS["A"], context, b"pbx-password-%011d" % 7) for context in contexts]
    barrier.wait()
    for _ in range(CRYPTO_VALUES // 2):
        for context, value in zip(contexts, values, strict=True):
            sealed.seal(KEYS["B"], context, sealed.open(keyring, context, value))


def updates_alone(url: str, keyring: Keyring, processes: int) -> float:
    """Values a second put into the table by the plainest multi-row UPDATE, their new values made beforehand."""
    with open_batches(url, keyring.primary.id) as batches:
        tables = sealed_tables(db.metadata, batches.connection.dialect)
        table = next(table for table in tables if table.name == "phone_systems")
        parts = batches.split(table, "not primary", processes, BATCH_SIZE)
        values = len(table.columns) * batches.count(table)[0].total
    return values / in_processes(processes, _updates, url, keyring, table, parts)


def _updates(number: int, barrier: Barrier, url: str, keyring: Keyring, table: SealedTable, parts: list[Part]) -> None:
    with open_batches(url, keyring.primary.id) as batches:
        ready = [
            (
                batch.keys,
                *(
                    [
                        sealed.seal(keyring.primary, context, sealed.open(keyring, context, value or ""))
                        for context, value in zip(contexts, values, strict=True)
                    ]
                    for contexts, values in zip(batch.contexts, batch.values, strict=True)
                ),
            )
            for batch in batches.read(table, parts[number], "not primary", BATCH_SIZE)
        ]
        sql = (
            "UPDATE phone_systems SET password_encrypted = new.a, webhook_password_encrypted = new.b"
            " FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS new (id, a, b) WHERE phone_systems.id = new.id"
        )
        barrier.wait()
        for columns in ready:
            with batches.connection.begin():
                arrays = tuple("{" + ",".join(column) + "}" for column in columns)
                batches.connection.exec_driver_sql(sql, arrays)


class Base(DeclarativeBase):
    pass


class PlainPhoneSystem(Base):
    """The same constrained table as an application sees it that keeps plain Fernet tokens."""

    __tablename__ = "phone_systems"

    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    password_encrypted: Mapped[str] = mapped_column(String)
    webhook_password_encrypted: Mapped[str] = mapped_column(String)


def orm_loop(url: str, old: MasterKey, new: MasterKey, flush_per_row: bool) -> float:
    """Values a second of `for row in rows: row.secret = MultiFernet.rotate(row.secret)`, with one commit at the end."""
    multi = MultiFernet([plain_fernet(new), plain_fernet(old)])
    prefix = f"v1:{new.id}:"

    def rotate(value: str) -> str:
        return prefix + multi.rotate(value[len(prefix) :]).decode()

    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    values = 0
    start = time.perf_counter()
    with Session(engine) as session:
        for row in session.scalars(select(PlainPhoneSystem)):
            row.password_encrypted = rotate(row.password_encrypted)
            row.webhook_password_encrypted = rotate(row.webhook_password_encrypted)
            values += 2
            if flush_per_row:
                session.flush()
        session.commit()
    seconds = time.perf_counter() - start
    engine.dispose()
    return values / seconds
