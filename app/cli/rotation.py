"""``flask rotate-encryption-key``, and what the commands around the encryption key share.

Results go to standard output, everything else to standard error. Exit status: 0 done; 1 something is not as it should
be; 2 usage; 3 another rotation runs; 78 the configuration does not fit (EX_CONFIG).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final, NoReturn

import click
from flask import Blueprint, current_app
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.audit import service as audit
from app.config import EXIT_CONFIG
from app.encryption import AppEncryption
from app.encryption.connections import RotationRefused, RotationRunning, direct_engine
from app.encryption.passes import Unreadable
from app.encryption.registry import KeyNotChanged, KeyRefused
from app.encryption.rotation import DEFAULT_BATCH_SIZE, Result, Rotation
from app.encryption.workers import WorkerFailed
from app.extensions import db
from app.startup import database_or_exit

EXIT_NOT_DONE: Final = 1
EXIT_RUNNING: Final = 3
SECONDS_BETWEEN_LINES: Final = 10
INSUFFICIENT_PRIVILEGE: Final = "42501"  # PostgreSQL's SQLSTATE

commands = Blueprint("rotation_commands", __name__, cli_group=None)

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the work."
)


@commands.cli.command("rotate-encryption-key")
@workers_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 100_000),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Rows at a time.",
)
@click.option("--dry-run", is_flag=True, help="Only count, and tell which values would not open.")
@click.option("--force", is_flag=True, help="Rotate although ENCRYPTION_KEY is not the newest key.")
@as_json_option
def rotate_encryption_key(workers: int, batch_size: int, dry_run: bool, force: bool, as_json: bool) -> None:
    """Re-encrypt every stored secret under ENCRYPTION_KEY, beside live traffic, and prove it.

    Can be interrupted and started again. See docs/key-rotation.md for what comes before and after.
    """
    with refusals():
        progress = ProgressLine()
        rotation = new_rotation(
            workers=workers, batch_size=batch_size, on_progress=progress.add, on_unreadable=complain
        )
        rotation.check(force, register=not dry_run)
        to_rotate, values = rotation.count()
        progress.total = values if dry_run else to_rotate + values
        result = rotation.try_out() if dry_run else rotation.run()
        progress.end()
    if not dry_run:
        counts = {name: getattr(result, name) for name in ("rotated", "proved", "unreadable", "remaining")}
        record("encryption_key.rotated", key_id=result.primary, **counts)
    if as_json:
        shown = asdict(result)
        del shown["still_written"]
        click.echo(json.dumps(shown))
    else:
        _print_result(result, dry_run)
    warn_of_writers(result)
    if result.unreadable or (result.remaining and not dry_run):
        sys.exit(EXIT_NOT_DONE)


def warn_of_writers(result: Result) -> None:
    """Say what has to be done where values go on arriving under other keys."""
    if result.still_written:
        click.echo(
            f"Values remain under {', '.join(result.still_written)}: a process that still has that key as its "
            "ENCRYPTION_KEY goes on writing them, or holds their rows, or the table refuses their rows for another "
            "reason. Restart the process with the new configuration, then run this command again.",
            err=True,
        )


class ProgressLine:
    """Tells how far the work is, on standard error: a line that renews itself on a terminal, else one now and then."""

    def __init__(self, what: str = "values") -> None:
        self.what = what
        self.total = self.done = 0
        self.started = self.shown = time.monotonic()
        self.on_terminal = sys.stderr.isatty()

    def add(self, values: int) -> None:
        self.done += values
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.on_terminal else SECONDS_BETWEEN_LINES):
            self.shown = now
            line = self.line(self.done / (now - self.started))
            click.echo(f"\r{line}\033[K" if self.on_terminal else line, err=True, nl=not self.on_terminal)

    def line(self, rate: float) -> str:
        left = max(0, self.total - self.done) / rate if rate else 0
        return f"{self.done} of {self.total} {self.what}, {rate:.0f} a second, {left:.0f} s left"

    def end(self) -> None:
        if self.on_terminal:
            click.echo("\r\033[K", err=True, nl=False)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what keeps a command from its work into one message and its exit status."""
    try:
        yield
    except (KeyRefused, RotationRefused) as refusal:
        fail(str(refusal), EXIT_CONFIG)
    except RotationRunning:
        fail(
            "Another rotation of this database is running. Let it finish, or stop it and run this again.", EXIT_RUNNING
        )
    except KeyNotChanged as refusal:
        fail(f"{refusal}.", EXIT_NOT_DONE)
    except WorkerFailed as failure:
        fail(f"Broken off: {failure}. Nothing is lost; run the command again to go on.", EXIT_NOT_DONE)
    except OSError as error:
        fail(f"Broken off: {error.strerror}. Nothing is lost; run the command again to go on.", EXIT_NOT_DONE)
    except DBAPIError as error:  # its text may hold a driver's parameters
        if getattr(error.orig, "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
            fail(
                "This database login may not do that, or does not see every row: use the tables' owner.", EXIT_NOT_DONE
            )
        kind = type(error.orig).__name__
        fail(f"Broken off by the database ({kind}). Nothing is lost; run the command again to go on.", EXIT_NOT_DONE)


def fail(message: str, status: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)


def complain(value: Unreadable) -> None:
    click.echo(
        f"{value.column} of row {value.row} (table {value.table}) {value.reason} (key id {value.key_id or 'none'})",
        err=True,
    )


def record(action: str, **details: str | int) -> None:
    """Leave an event in the audit trail. It comes after the work, which stands without it."""
    try:
        audit.record_at_once(db.session(), action, tenant_id=None, details=details)
    except SQLAlchemyError:
        click.echo(f"{action} is not in the audit trail: the database did not take it.", err=True)


def app_encryption() -> AppEncryption:
    encryption: AppEncryption = current_app.extensions["encryption"]
    return encryption


def database_url() -> str:
    """The database, past a connection pooler where there is one."""
    return str(current_app.config["ROTATION_DATABASE_URL"] or current_app.config["SQLALCHEMY_DATABASE_URI"])


def reachable_database() -> Engine:
    """The database, once it has answered; else the end, with the reason."""
    engine = direct_engine(database_url())
    with database_or_exit(engine.url), engine.connect():
        return engine


def migrated_database() -> Engine:
    """The database, once it is seen to have our tables. Raises RotationRefused."""
    engine = reachable_database()
    with engine.connect() as connection:
        if not app_encryption().registry.is_migrated(connection):
            raise RotationRefused("The database is not migrated: run `flask db upgrade` first.")
    return engine


def new_rotation(
    on_progress: Callable[[int], None],
    on_unreadable: Callable[[Unreadable], None],
    workers: int,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Rotation:
    encryption = app_encryption()
    reachable_database()
    return Rotation(
        database_url(),
        encryption.registry,
        encryption.keyring,
        workers=workers,
        batch_size=batch_size,
        on_progress=on_progress,
        on_unreadable=on_unreadable,
    )


def _print_result(result: Result, dry_run: bool) -> None:
    for column in result.columns:
        counts = f"{column.rotated} rotated, {column.already} already under {result.primary}, {column.null} empty"
        click.echo(f"{column.column}: {counts}, {column.unreadable} unreadable")
    if dry_run:
        click.echo(f"Dry run: {result.remaining - result.unreadable} values would be rotated; nothing was written.")
    elif not result.rotated and result.complete:
        click.echo(f"Nothing to rotate. All {result.proved} values were opened with {result.primary} alone.")
    else:
        click.echo(
            f"{result.rotated} values rotated, {result.proved} opened with {result.primary} alone, "
            f"{result.unreadable} unreadable, {result.remaining} remaining, in {result.seconds:.1f} s."
        )
