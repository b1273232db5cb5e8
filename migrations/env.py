"""Runs the migrations on the application's database, one process at a time.

PostgreSQL: all pending migrations are one transaction under an advisory lock, and give up rather than queue behind a
long transaction, with the whole service queueing behind them. SQLite: foreign keys are off meanwhile, because
rebuilding a table would otherwise delete the rows that refer to it, and checked before the commit.
"""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import Connection, text

from app.startup import database_or_exit
from app.tenancy import system_scope

LOCK_ID = 0x61756469  # "audi"

db = current_app.extensions["migrate"].db


def run(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:  # a PRAGMA that a transaction ignores: set before one begins
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")
    with connection.begin():
        if not is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = '4s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": LOCK_ID})
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=is_sqlite,
            compare_server_default=True,
            process_revision_directives=leave_out_empty,
        )
        context.run_migrations()
        if is_sqlite and (broken := connection.execute(text("PRAGMA foreign_key_check")).fetchall()):
            raise RuntimeError(f"the migration would leave {len(broken)} rows with broken foreign keys")
    if is_sqlite:
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = ON")


def leave_out_empty(migration_context: object, revision: object, directives: list) -> None:
    """`flask db migrate` without a change makes no file."""
    if getattr(context.config.cmd_opts, "autogenerate", False) and directives[0].upgrade_ops.is_empty():
        directives[:] = []


if context.is_offline_mode():
    raise SystemExit("migrations need a database connection: `--sql` is not supported")
with database_or_exit(), system_scope(), db.engine.connect() as connection:
    run(connection)
