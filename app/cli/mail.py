"""``flask send-mails`` and ``flask mail status``. Neither shows an address or a content."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import datetime
from typing import Final

import click
from flask import Blueprint
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from app.cli.rotation import as_json_option
from app.config import EXIT_CONFIG
from app.extensions import db
from app.logs import log_to_standard_error
from app.mail import service as mail
from app.mail.delivery import NO_MAIL, delivery
from app.mail.models import MailState
from app.startup import database_or_exit

EXIT_NOT_DONE: Final = 1
SECONDS_BETWEEN_RUNS: Final = 10

commands = Blueprint("mail_commands", __name__, cli_group=None)
group = AppGroup("mail", help="Mails that are to be sent, and what became of them.")
commands.cli.add_command(group)


@commands.cli.command("send-mails")
@click.option("--loop", is_flag=True, help=f"Go on for ever, every {SECONDS_BETWEEN_RUNS} seconds.")
def send_mails(loop: bool) -> None:
    """Send the mails that are due: new ones, and those that the provider did not take at once.

    Any number of these may run at a time. Exit status 1: a mail was refused or given up.
    """
    if delivery().transport is None:
        click.echo(NO_MAIL, err=True)
        sys.exit(EXIT_CONFIG)
    log_to_standard_error()
    while loop:
        try:
            _tell(mail.send_due(db.session()))
        except DBAPIError as error:  # whose text may hold parameters
            click.echo(f"The database cannot be used ({type(error.orig).__name__}): trying again.", err=True)
        db.session.remove()
        time.sleep(SECONDS_BETWEEN_RUNS)
    with database_or_exit():
        counts = mail.send_due(db.session())
    _tell(counts)
    if counts[MailState.REFUSED] or counts[MailState.GIVEN_UP]:
        sys.exit(EXIT_NOT_DONE)


def _tell(counts: Counter[MailState]) -> None:
    if counts:
        click.echo(
            f"{counts[MailState.SENT]} sent, {counts[MailState.QUEUED]} to be tried again, "
            f"{counts[MailState.REFUSED]} refused, {counts[MailState.GIVEN_UP]} given up."
        )


@group.command("status")
@as_json_option
def status(as_json: bool) -> None:
    """How many mails there are in each state, and why the newest of those that failed did."""
    with database_or_exit():
        found = mail.overview(db.session())
    problems = [
        {
            "id": str(problem.id),
            "kind": problem.kind,
            "state": problem.state,
            "created_at": _shown_time(problem.created_at),
            "attempts": problem.attempts,
            "reason": problem.reason,
        }
        for problem in found.problems
    ]
    oldest = found.oldest_queued_at and _shown_time(found.oldest_queued_at)
    if as_json:
        click.echo(json.dumps({**found.counts, "oldest_queued_at": oldest, "problems": problems}))
        return
    click.echo(", ".join(f"{count} {state.replace('_', ' ')}" for state, count in found.counts.items()))
    if oldest:
        click.echo(f"The oldest that waits was queued {oldest}.")
    for problem in problems:
        click.echo("{created_at} {kind} {id} {state}, attempts: {attempts}: {reason}".format_map(problem))


def _shown_time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
