"""Whether a backup can be used, and the record that one was found to be.

It takes the backup and the keys, and no database: the record alone goes into one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

from sqlalchemy import MetaData, select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.models import AuditEvent
from app.backups import sources
from app.backups.check import RowChecker, Rows
from app.backups.reading import Contents, Damaged
from app.backups.tables import tables_at
from app.encryption.keyring import Keyring
from app.status.service import migrations

CHECKED: Final = "backup.checked"


@dataclass
class Report:
    """What a backup was found to be. problems: why it cannot be used as it is; notes: what to do after restoring it.

    Both are sentences, without anything of the backup but names, key ids and counts.
    """

    contents: Contents
    rows: Rows
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return not self.problems and not self.rows.unreadable


def check(
    file: IO[bytes], path: Path | None, metadata: MetaData, keyring: Keyring, on_read: Callable[[int], None]
) -> Report:
    """Read a backup to its end, open every value in it, and say what is wrong.

    file: the backup, from wherever it comes; path: where it is a file on disk. on_read: told of bytes as they are read.
    Needs an application context, for the migrations that this version knows.
    """
    checker, contents = RowChecker(metadata, keyring), Contents()
    report = Report(contents, checker.rows)
    try:
        sources.read(file, path, checker, contents, on_read)
    except Damaged as damaged:
        report.problems.append(str(damaged))
    if contents.filled:
        if not report.problems:  # what was cut off is not there
            _look_at_tables(report, metadata)
        _look_at_rows(report)
        _look_at_keys(report, keyring)
    elif not report.problems:
        report.problems.append("There is no table with rows in it: the backup has the schema alone, or nothing.")
    return report


def _look_at_tables(report: Report, metadata: MetaData) -> None:
    contents, rows = report.contents, report.rows
    heads, known = migrations()
    is_known = bool(rows.revisions) and rows.revisions <= known
    # Other applications number their migrations, too: a backup of ours has what there was of ours by then.
    expected = tables_at(rows.revisions, metadata) if is_known else {name: set[str]() for name in metadata.tables}
    if not rows.revisions:
        report.problems.append("It does not say at which migration it is (alembic_version): it is no backup of ours.")
    elif not is_known:
        report.problems.append(
            f"It is at migration {', '.join(sorted(rows.revisions))}, which this version does not know: check it with "
            "the version that it was made of."
        )
    if without_rows := sorted((contents.created & expected.keys()) - contents.filled):
        report.problems.append(f"These tables are in it without their rows: {', '.join(without_rows)}.")
    if absent := sorted(expected.keys() - contents.created - contents.filled):
        say = report.problems if is_known else report.notes
        say.append(f"These tables are not in it: {', '.join(absent)}.")
    columns = {f"{table}.{column}" for table, names in expected.items() for column in names}
    if lacking := sorted(rows.missing_columns & columns):
        report.problems.append(f"These columns are not in it: {', '.join(lacking)}.")
    if is_known and not heads <= rows.revisions:
        report.notes.append("It is from an older version: after the restore, run `flask db upgrade`.")


def _look_at_rows(report: Report) -> None:
    contents, rows = report.contents, report.rows
    if contents.misshapen:
        report.problems.append(f"{contents.misshapen} rows have not as many values as their table has columns.")
    if rows.ambiguous:
        report.problems.append(
            f"These tables are in it more than once, in several schemas: {', '.join(sorted(rows.ambiguous))}."
        )
    if contents.hides_rows or (rows.users and not rows.tenants and "tenants" in contents.filled):
        report.problems.append(
            "Row-level security hid rows when it was made: with --enable-row-security, or by a login that does not see "
            "every tenant. Dump as the owner of the tables."
        )
    if contents.had_log:
        report.notes.append(
            "If it was copied with cp while the service ran, its newest changes are missing: they were in the file "
            "beside it (-wal). Copy it with VACUUM INTO."
        )
    if not rows.unreadable and not rows.opened:
        report.notes.append("There is no encrypted value in it.")


def _look_at_keys(report: Report, keyring: Keyring) -> None:
    rows = report.rows
    needed = set(rows.key_ids())
    for key_id in sorted(needed | rows.registered.keys()):
        values = sum(counts[key_id] for counts in rows.values.values())
        if key_id not in rows.registered and "encryption_keys" in report.contents.filled:
            report.problems.append(
                f"{values} values are sealed under key {key_id}, which is not registered in it: it was altered, and "
                "cannot be restored as it is."
            )
        elif keyring.get(key_id) is None and values:
            report.problems.append(
                f"Key {key_id} is not configured, and {values} values need it: add it to ENCRYPTION_KEY_FALLBACKS."
            )
        elif keyring.get(key_id) is None:
            report.notes.append(
                f"Key {key_id} is not configured, and no value needs it: after the restore, run "
                f"`flask encryption retire {key_id}`."
            )
        elif rows.registered.get(key_id) is False:
            report.problems.append(f"The configured key {key_id} does not open the canary that is in the backup.")
    if (primary := keyring.primary.id) in rows.retired:
        report.notes.append(
            f"ENCRYPTION_KEY {primary} is retired in it: after the restore, configure a newer key, or run "
            f"`flask encryption reinstate {primary}`."
        )


def record(session: Session, report: Report) -> None:
    """Leave in the audit trail that a usable backup was checked."""
    rows = report.rows
    details: dict[str, object] = {"kind": report.contents.kind, "opened": rows.opened, "key_ids": rows.key_ids()}
    if (newest := rows.newest_event_at()) is not None:
        details["newest_event_at"] = newest.isoformat(timespec="seconds")
    audit.record_at_once(session, CHECKED, tenant_id=None, details=details)


class LastChecked(NamedTuple):
    """When a usable backup was checked, and how far it went: the time of its newest event, None if it had none."""

    at: datetime
    reached: datetime | None


def last_checked_backup(session: Session) -> LastChecked | None:
    """The last one that was recorded; None if there is no record. Wants the system's scope."""
    newest_first = (
        select(AuditEvent.occurred_at, AuditEvent.details)
        .where(AuditEvent.tenant_id.is_(None), AuditEvent.action == CHECKED)
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    row = session.execute(newest_first).first()
    if row is None:
        return None
    reached = row.details.get("newest_event_at")
    return LastChecked(row.occurred_at, None if reached is None else datetime.fromisoformat(reached))
