"""``flask doctor``: is this installation fit for production?"""

from __future__ import annotations

import json
import sys
from typing import Final

import click
from flask import Blueprint

from app.cli.rotation import as_json_option
from app.doctor import State, examine

EXIT_FAILURE: Final = 1

commands = Blueprint("doctor_commands", __name__, cli_group=None)


@commands.cli.command("doctor")
@as_json_option
def doctor(as_json: bool) -> None:
    """Look at keys, database, tokens and everything else that a production checklist asks for. Changes nothing.

    Exit status 1: something has to be mended. Warnings are for you to decide about.
    """
    found = []
    for finding in examine():
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.state:8} {finding.subject}: {finding.text}")
    counts = {state: sum(finding.state is state for finding in found) for state in State}
    if as_json:
        click.echo(json.dumps({"findings": [finding._asdict() for finding in found], **counts}))
    else:
        click.echo(f"{counts[State.FAILURE]} to be mended, {counts[State.WARNING]} to be decided about.")
    if counts[State.FAILURE]:
        sys.exit(EXIT_FAILURE)
