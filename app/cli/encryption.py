"""``flask encryption …``: the life of the master keys, beside the rotation itself."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import click
from flask import Blueprint
from flask.cli import AppGroup
from sqlalchemy import select

from app.cli.adoption import adopt
from app.cli.rotation import (
    EXIT_NOT_DONE,
    ProgressLine,
    app_encryption,
    as_json_option,
    complain,
    migrated_database,
    new_rotation,
    record,
    refusals,
    workers_option,
)
from app.encryption import inventory
from app.encryption.keyring import is_key_id
from app.encryption.passes import Unreadable
from app.encryption.registry import KeyNotChanged, SealedRow

commands = Blueprint("encryption_commands", __name__, cli_group=None)
group = AppGroup("encryption", help="The master keys of stored secrets.")
commands.cli.add_command(group)
group.add_command(adopt)


@group.command("status")
@as_json_option
def status(as_json: bool) -> None:
    """Which keys there are, how many values each has, and how the last rotation went."""
    encryption = app_encryption()
    registry = encryption.registry
    with refusals(), migrated_database().connect() as connection:
        columns = [(column.name, registry.count_values(connection, column)) for column in inventory(registry.metadata)]
        keys = connection.execute(select(registry.keys).order_by(registry.keys.c.generation)).all()
        last = registry.last_rotation(connection)
    found: dict[str, Any] = {
        "primary": encryption.keyring.primary.id,
        "fallbacks": [key.id for key in encryption.keyring.fallbacks],
        "columns": [
            {"column": name, "null": counts.pop(None, 0), "keys": dict(sorted(counts.items()))}
            for name, counts in columns
        ],
        "last_rotation": None if last is None else _shown_rotation(last),
    }
    found["keys"] = [
        {
            "id": key.id,
            "created_at": _shown_time(key.created_at),
            "values": sum(column["keys"].get(key.id, 0) for column in found["columns"]),
        }
        for key in keys
    ]
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print_status(found)


@group.command("verify")
@workers_option
@as_json_option
def verify(workers: int, as_json: bool) -> None:
    """Open every stored secret with the configured keys. Writes and shows none."""
    unreadable: list[Unreadable] = []
    with refusals():
        migrated_database()
        progress = ProgressLine()
        rotation = new_rotation(progress.add, unreadable.append, workers)
        progress.total = rotation.count()[1]
        opened = rotation.verify()
        progress.end()
    if as_json:
        fields = ("column", "row", "key_id", "reason")
        found = [{name: getattr(value, name) for name in fields} for value in unreadable]
        click.echo(json.dumps({"opened": opened, "unreadable": found}))
    else:
        for value in unreadable:
            complain(value)
        click.echo(f"{opened} values opened, {len(unreadable)} did not.")
    if unreadable:
        sys.exit(EXIT_NOT_DONE)


def _key_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not is_key_id(value):
        raise click.BadParameter("a key id is 8 lower-case hex digits, as `flask encryption status` shows them")
    return value


key_id_argument = click.argument("key_id", callback=_key_id)


@group.command("retire")
@key_id_argument
def retire(key_id: str) -> None:
    """Remove a key that no value needs any more. It cannot come back by accident."""
    encryption = app_encryption()
    with refusals():
        encryption.registry.retire(migrated_database(), encryption.keyring, key_id)
    record("encryption_key.retired", key_id=key_id)
    click.echo(
        f"{key_id} is retired. Remove it from ENCRYPTION_KEY_FALLBACKS, and keep it sealed away for as long as backups "
        "from before the rotation live."
    )


@group.command("forget")
@key_id_argument
@as_json_option
def forget(key_id: str, as_json: bool) -> None:
    """Give up a lost key: remove the values sealed under it, and list what must be entered anew."""
    encryption = app_encryption()
    registry = encryption.registry
    with refusals():
        engine = migrated_database()
        with engine.connect() as connection:
            rows = registry.count_lost(connection, encryption.keyring, key_id)
        click.echo(f"{rows} values are sealed under {key_id}. They will be removed, which cannot be undone.", err=True)
        if click.prompt(f"Type the key id {key_id} to go on", err=True, default="", show_default=False) != key_id:
            raise KeyNotChanged("Not confirmed: nothing was changed")
        registry.forget(engine, encryption.keyring, key_id, lambda lost: _print_lost(key_id, lost, as_json))
    record("encryption_key.forgotten", key_id=key_id, values=rows)
    if not as_json:
        click.echo(f"{key_id} is forgotten. {rows} values were removed and must be entered anew.")


@group.command("reinstate")
@key_id_argument
def reinstate(key_id: str) -> None:
    """Let a retired key be used again, after a backup from its time was restored."""
    encryption = app_encryption()
    with refusals():
        encryption.registry.reinstate(migrated_database(), key_id)
    record("encryption_key.reinstated", key_id=key_id)
    click.echo(f"{key_id} is not retired any more. It is registered again when it is configured as ENCRYPTION_KEY.")


def _print_lost(key_id: str, lost: list[SealedRow], as_json: bool) -> None:
    tables = {column.name: column.table.name for column in inventory(app_encryption().registry.metadata)}
    entries = [
        {"tenant": value.owner, "table": tables[value.column], "column": value.column, "row": value.row}
        for value in lost
    ]
    if as_json:
        click.echo(json.dumps({"forgotten": key_id, "rows": entries}))
        return
    for entry in entries:
        click.echo(" ".join(f"{name} {value}" for name, value in entry.items()))


def _print_status(found: dict[str, Any]) -> None:
    click.echo(f"primary {found['primary']}; fallbacks: {', '.join(found['fallbacks']) or 'none'}")
    for column in found["columns"]:
        counts = ", ".join(f"{count} under {key_id}" for key_id, count in column["keys"].items())
        click.echo(f"{column['column']}: {counts or 'no values'}, {column['null']} empty")
    for key in found["keys"]:
        age = (datetime.now(UTC) - datetime.fromisoformat(key["created_at"])).days
        click.echo(f"key {key['id']}: {key['values']} values, registered {key['created_at']} ({age} days ago)")
    if last := found["last_rotation"]:
        end = f"finished {last['finished_at']}" if last["finished_at"] else "not finished: running, or broken off"
        click.echo(
            f"last rotation: to {last['to']}, started {last['started_at']}, {end}; {last['rotated']} of "
            f"{last['planned']} values rotated, {last['unreadable']} unreadable, {last['proved'] or 0} proved"
            + ("" if last["remaining"] is None else f", {last['remaining']} remaining")
        )


def _shown_rotation(row: Any) -> dict[str, Any]:
    return {
        "from": [key_id for key_id in row["from_key_ids"].split(",") if key_id],
        "to": row["to_key_id"],
        "started_at": _shown_time(row["started_at"]),
        "finished_at": row["finished_at"] and _shown_time(row["finished_at"]),
        "planned": row["planned"],
        "rotated": row["rotated"],
        "unreadable": row["unreadable"],
        "proved": row["proved"],
        "remaining": row["remaining"],
    }


def _shown_time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
