"""``flask backup check``: whether a backup can be used, found out without restoring it.

Exit status: 0 it can, with the keys that are configured; 1 it cannot as it is, or that could not be recorded; 2 usage;
78 the configuration does not fit (EX_CONFIG).
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import click
from flask import Blueprint
from flask.cli import AppGroup

from app.backups import service
from app.backups.service import Report
from app.cli.rotation import EXIT_NOT_DONE, ProgressLine, app_encryption, as_json_option, complain, fail
from app.extensions import db
from app.startup import database_or_exit

MEGABYTE: Final = 1_000_000

commands = Blueprint("backup_commands", __name__, cli_group=None)
group = AppGroup("backup", help="Backups: see docs/backup.md.")
commands.cli.add_command(group)


@group.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option("--record", is_flag=True, help="Leave in the audit trail that it was checked, if it can be used.")
@as_json_option
def check(file: str, record: bool, as_json: bool) -> None:
    """Open every secret in a backup with the configured keys, and tell which of them it needs.

    FILE is what pg_dump made, gzipped or not, or a copy of an SQLite database; or - for standard input. It is only
    read, and no database is needed.
    """
    encryption = app_encryption()
    progress = ReadingProgress()
    try:
        with _opened(file) as stream:
            path = _path_on_disk(file, progress)
            report = service.check(stream, path, encryption.registry.metadata, encryption.keyring, progress.add)
    except OSError as error:
        fail(f"The backup cannot be read: {error.strerror}.", EXIT_NOT_DONE)
    progress.end()
    if as_json:
        click.echo(json.dumps(_shown(report)))
    else:
        _print(report)
    if not report.usable:
        sys.exit(EXIT_NOT_DONE)
    if record:
        with database_or_exit():
            service.record(db.session(), report)


class ReadingProgress(ProgressLine):
    """Counts bytes."""

    def line(self, rate: float) -> str:
        of = f" of {self.total / MEGABYTE:.0f}" if self.total else ""
        left = f", {max(0, self.total - self.done) / rate:.0f} s left" if self.total and rate else ""
        return f"{self.done / MEGABYTE:.0f}{of} MB read{left}"


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    else:
        with open(file, "rb", buffering=0) as opened:
            yield opened


def _path_on_disk(file: str, progress: ReadingProgress) -> Path | None:
    """Where it can be read once more; not if it is a pipe."""
    if file == "-" or not stat.S_ISREG(os.stat(file).st_mode):
        return None
    progress.total = os.stat(file).st_size
    return Path(file)


def _shown(report: Report) -> dict[str, Any]:
    rows, keyring = report.rows, app_encryption().keyring
    newest = rows.newest_event_at()
    key_ids = sorted({*rows.key_ids(), *rows.registered, *rows.retired})
    return {
        "usable": report.usable,
        "kind": report.contents.kind or None,
        "migration": ", ".join(sorted(rows.revisions)) or None,
        "newest_event_at": newest and newest.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "columns": [
            {"column": name, "null": counts.get(None, 0), "keys": {str(key): counts[key] for key in counts if key}}
            for name, counts in sorted(rows.values.items())
        ],
        "keys": [
            {
                "id": key_id,
                "values": sum(counts[key_id] for counts in rows.values.values()),
                "configured": keyring.get(key_id) is not None,
                "registered": key_id in rows.registered,
                "retired": key_id in rows.retired,
            }
            for key_id in key_ids
        ],
        "opened": rows.opened,
        "unreadable": rows.unreadable.total(),
        "listed": [value._asdict() for value in rows.listed],
        "problems": report.problems,
        "notes": report.notes,
    }


def _print(report: Report) -> None:
    found = _shown(report)
    if found["kind"]:
        newest = found["newest_event_at"]
        age = f"{newest} ({_ago(report.rows.newest_event_at())})" if newest else "none"
        click.echo(f"{found['kind']}; migration {found['migration'] or 'unknown'}; newest audit event: {age}")
    for column in found["columns"]:
        counts = ", ".join(f"{count} under {key_id}" for key_id, count in sorted(column["keys"].items()))
        click.echo(f"{column['column']}: {counts or 'no values'}, {column['null']} empty")
    for key in found["keys"]:
        states = [word for word in ("configured", "registered", "retired") if key[word]]
        click.echo(f"key {key['id']}: {key['values']} values; {', '.join(states) or 'not configured, not registered'}")
    for value in report.rows.listed:
        complain(value)
    if (more := found["unreadable"] - len(found["listed"])) > 0:
        click.echo(f"… and {more} more of the same kinds", err=True)
    for problem in report.problems:
        click.echo(problem, err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{found['opened']} values opened, {found['unreadable']} did not.")
    click.echo("This backup can be used." if report.usable else "This backup cannot be used as it is.")


def _ago(moment: datetime | None) -> str:
    hours = (datetime.now(UTC) - (moment or datetime.now(UTC))).total_seconds() / 3600
    if hours < 1:
        return "just now"
    return f"{hours:.0f} hours ago" if hours < 48 else f"{hours / 24:.0f} days ago"
