"""``flask incident``: after a break-in, what was exposed and whom to tell, and both keys replaced."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import click
from flask import Blueprint, current_app
from flask.cli import AppGroup
from sqlalchemy import Engine

from app.audit.actors import Origin
from app.cli import accounts
from app.cli.rotation import (
    EXIT_NOT_DONE,
    ProgressLine,
    app_encryption,
    as_json_option,
    complain,
    fail,
    migrated_database,
    new_rotation,
    record,
    refusals,
    warn_of_writers,
    workers_option,
)
from app.config import VARIABLES, Settings
from app.database import now
from app.encryption.passes import Unreadable
from app.extensions import db
from app.identity import sessions, signing_keys, signing_out
from app.incident.exposure import exposed, see_every_row, stored
from app.incident.keys import find_key
from app.incident.standing import KEYS_REPLACED, Standing, is_recorded, is_signed_out, look, proof
from app.incident.telling import Platform, as_json_lines, as_text

EXIT_YOUR_TURN: Final = 4

commands = Blueprint("incident_commands", __name__, cli_group=None)
group = AppGroup("incident", help="After a break-in: see docs/incidents/README.md.")
commands.cli.add_command(group)


class Moment(click.ParamType[datetime]):
    """A point in time in the past, with its time zone, such as 2026-11-01T00:00:00Z."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
            is_past = moment.tzinfo is not None and moment <= now()
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            is_past = False
        if not is_past:
            self.fail("a time in the past, with its time zone, such as 2026-11-01T00:00:00Z", parameter, context)
        return moment


@group.command("report")
@click.option("--since", type=Moment(), required=True, help="When it began; in doubt earlier: 2026-11-01T00:00:00Z.")
@click.option("--key", "key_id", metavar="KEY_ID", help="Only what was ever under this key, or signed with it.")
@as_json_option
def report(since: datetime, key_id: str | None, as_json: bool) -> None:
    """List per tenant which secrets existed and were used, who must be told, and who must reissue them.

    Opens no secret and changes nothing. What belongs to no tenant, and is yours to replace, is at the end.
    """
    with refusals():
        engine = migrated_database().execution_options(sqlite_begin="DEFERRED")  # others write meanwhile
        with engine.connect() as connection:
            see_every_row(connection)
            key = None if key_id is None else find_key(connection, app_encryption().registry, key_id)
            if key_id is not None and key is None:
                fail("The database has never seen a key with this id: see `flask encryption status`.", EXIT_NOT_DONE)
            platform = Platform([variable.name for variable in VARIABLES if variable.secret], stored(connection))
            found = exposed(connection, since, key)
            for line in (as_json_lines if as_json else as_text)(found, since, key, platform):
                click.echo(line)
    retention = current_app.extensions["audit_retention"]
    if since < now() - retention:
        click.echo(
            f"Audit events older than {retention.days} days are removed: what was used, replaced or deleted before "
            "that is not in this report.",
            err=True,
        )


@group.command("rotate-all")
@click.option(
    "--isolated",
    "isolated_at",
    type=Moment(),
    required=True,
    help="When the service was isolated: keys that were in use before are replaced.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@workers_option
@as_json_option
def rotate_all(isolated_at: datetime, yes: bool, workers: int, as_json: bool) -> None:
    """Replace both keys at once, step by step: it does the next one, or says what you must configure.

    Run it again with the same time until it ends with exit status 0. Exit status 4: it is your turn. Everybody is
    signed out; stored secrets and API keys go on working.
    """
    settings: Settings = current_app.extensions["settings"]
    with accounts.refusals(), refusals():
        engine = migrated_database()
        standing = _look(settings, engine, isolated_at)
        if lines := standing.to_configure():
            _hand_over(["Nothing was changed. Configure this, for every process:", *lines], as_json)
        _warn_of_sign_ins(standing)
        if standing.others or not standing.primary_is_known or not _is_signed_out(standing):
            _confirm(standing, yes)
            _sign_everybody_out(engine, standing)
            _replace_encryption_key(engine, standing, workers)
            standing = _look(settings, engine, isolated_at)
        if standing.fallbacks:
            listed = ", ".join(standing.fallbacks)
            _hand_over(
                [
                    "Nobody is signed in any more, and the old encryption key is retired. Configure this, for every "
                    "process:",
                    "ENCRYPTION_KEY_FALLBACKS must be empty. Keep sealed away what it has now, for backups from "
                    f"before: {listed}.",
                ],
                as_json,
            )
        done = _prove(engine, standing, workers)
    if as_json:
        click.echo(json.dumps({"done": True, **done}))
    else:
        _print_proof(done)


def _look(settings: Settings, engine: Engine, isolated_at: datetime) -> Standing:
    with engine.connect() as connection:
        return look(settings, connection, isolated_at)


def _is_signed_out(standing: Standing) -> bool:
    is_done = is_signed_out(db.session(), standing)
    db.session.rollback()  # on SQLite it keeps everybody else from writing, the rotation too
    return is_done


def _warn_of_sign_ins(standing: Standing) -> None:
    """A time long before the service was isolated would make known keys look new, such as those of a rotation since."""
    until = standing.jwt_seen_at or now()
    begun = sessions.count_begun(db.session(), standing.isolated_at, until)
    db.session.rollback()
    if begun:
        click.echo(
            f"{begun} {'session' if begun == 1 else 'sessions'} began after that time and before the new JWT secret "
            "was in use, so the service was not isolated by then. If the time is wrong, run this again with the right "
            "one: a key that was in use while others could read it is not new.",
            err=True,
        )


def _hand_over(lines: list[str], as_json: bool) -> NoReturn:
    lines.append("Stop every process, start them all with that, and run this command again with the same --isolated.")
    if as_json:
        click.echo(json.dumps({"done": False, "next": lines}))
    else:
        click.echo("\n  ".join(lines[:-1]))
        click.echo(lines[-1])
    sys.exit(EXIT_YOUR_TURN)


def _confirm(standing: Standing, yes: bool) -> None:
    if yes:
        return
    new = standing.primary_id
    click.echo(
        f"Everybody will be signed out, everything stored sealed anew under {new}, and "
        f"{', '.join(standing.others) or 'no other key'} retired.",
        err=True,
    )
    if click.prompt(f"Type the key id {new} to go on", err=True, default="", show_default=False) != new:
        fail("Not confirmed: nothing was changed.", EXIT_NOT_DONE)


def _sign_everybody_out(engine: Engine, standing: Standing) -> None:
    """First of all: a token opens everything at once."""
    with engine.connect() as connection:
        signing_keys.register(connection, standing.jwt_id)
    record(
        "incident.rotation_began",
        isolated_at=standing.isolated_at.isoformat(),
        encryption_key=standing.primary_id,
        jwt_secret=standing.jwt_id,
    )
    if _is_signed_out(_look(current_app.extensions["settings"], engine, standing.isolated_at)):
        return
    ended = signing_out.end_of_everybody(db.session())
    click.echo(f"{ended} {'session' if ended == 1 else 'sessions'} ended.", err=True)


def _replace_encryption_key(engine: Engine, standing: Standing, workers: int) -> None:
    """Seal everything anew, prove it, and retire the keys before. Ends the command if a value cannot be moved."""
    progress = ProgressLine()
    rotation = new_rotation(progress.add, complain, workers)
    rotation.check()
    to_rotate, values = rotation.count()
    progress.total = to_rotate + values
    result = rotation.run()
    progress.end()
    counts = {name: getattr(result, name) for name in ("rotated", "proved", "unreadable", "remaining")}
    record("encryption_key.rotated", key_id=result.primary, **counts)
    warn_of_writers(result)
    if not result.complete:
        fail(
            f"{result.unreadable} values do not open and {result.remaining} are not under the new key: the old key is "
            "not retired. See docs/key-rotation.md, then run this command again.",
            EXIT_NOT_DONE,
        )
    for key_id in standing.others:
        app_encryption().registry.retire(engine, app_encryption().keyring, key_id)
        record("encryption_key.retired", key_id=key_id)
    click.echo(f"{result.rotated} values sealed anew, {result.proved} opened with {result.primary} alone.", err=True)


def _prove(engine: Engine, standing: Standing, workers: int) -> dict[str, Any]:
    """Open everything with the new key, which is the only one by now. The proof, which is in the audit trail, too."""
    unreadable: list[Unreadable] = []
    progress = ProgressLine()
    rotation = new_rotation(progress.add, unreadable.append, workers)
    remaining, progress.total = rotation.count()
    opened = rotation.verify()
    progress.end()
    for value in unreadable:
        complain(value)
    if unreadable or remaining:
        fail(f"{len(unreadable)} values do not open with {standing.primary_id} alone: it is not done.", EXIT_NOT_DONE)
    with engine.connect() as connection:
        found, known = proof(connection, standing, opened), is_recorded(connection, standing)
    if not known:
        record(KEYS_REPLACED, **found)
    return {"finished_at": now().isoformat(), "by": Origin.now().actor.name, **found}


def _print_proof(done: dict[str, Any]) -> None:
    jwt, key = done["jwt_secret"], done["encryption_key"]
    old = ", ".join(key["from"]) or "none"
    click.echo(f"Both keys are replaced, as seen by {done['by']} on {done['finished_at']}:")
    click.echo(f"  JWT secret {jwt['from']} -> {jwt['to']}; {done['sessions_ended']} sessions ended")
    click.echo(f"  encryption key {old} -> {key['to']}; retired: {', '.join(key['retired']) or 'none'}")
    click.echo(
        f"  {done['values_rotated']} values sealed anew, all {done['values_opened']} opened with {key['to']} alone"
    )
    click.echo(
        "What others have read they still know: `flask incident report --since TIME --key OLD_ID` lists what was under "
        "the old key, and who must reissue it. API keys still work: only their hashes are stored."
    )
