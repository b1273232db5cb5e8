"""``flask calls describe-again``."""

from __future__ import annotations

import click
from flask import Blueprint
from flask.cli import AppGroup

from app.calls.parties import describe_again
from app.cli.accounts import refusals
from app.extensions import db
from app.identity import users

commands = Blueprint("call_commands", __name__, cli_group=None)
group = AppGroup("calls", help="Call records that are stored.")
commands.cli.add_command(group)


@group.command("describe-again")
@click.option("--tenant", "subdomain", help="The subdomain of the only tenant to look at; without it, all of them.")
def describe_again_command(subdomain: str | None) -> None:
    """Fill in what calls were stored without: directions, extensions, and numbers with their country's code.

    To be run after the update that brought these, and after a tenant's country was changed. It may be broken off and
    run again at any time, also while the service runs.
    """
    with refusals():
        tenant_id = users.get_tenant(db.session(), subdomain).id if subdomain else None
        found = describe_again(db.session(), tenant_id)
    click.echo(f"{found.read:,} call records read, {found.changed:,} of them changed.")
