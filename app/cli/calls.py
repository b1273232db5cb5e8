"""``flask calls``: what is done about call records again and again."""

from __future__ import annotations

import click
from flask import Blueprint
from flask.cli import AppGroup

from app.calls import retention
from app.calls.parties import describe_again
from app.cli.accounts import refusals
from app.cli.rotation import ProgressLine
from app.database import now
from app.extensions import db
from app.identity.users import get_tenant

commands = Blueprint("calls_commands", __name__, cli_group=None)
group = AppGroup("calls", help="Call records.")
commands.cli.add_command(group)


@group.command("remove-old")
@click.option("--tenant", "subdomain", help="Only of this tenant, by subdomain.")
@click.option("--dry-run", is_flag=True, help="Only tell how many there are.")
def remove_old(subdomain: str | None, dry_run: bool) -> None:
    """Remove, for good, the call records that are older than their tenants want to keep them.

    To be run every day. It may be stopped at any time, and goes on where it was when it is run again.
    """
    with refusals():
        session = db.session()
        if subdomain is not None:
            get_tenant(session, subdomain)
        found = retention.expiries(session, now(), subdomain)
        counts = [retention.count_before(session, expiry.tenant_id, expiry.border) for expiry in found]
        session.rollback()
        progress = ProgressLine("call records")
        progress.total = sum(counts)
        for expiry, count in zip(found, counts, strict=True):
            if not dry_run and count:
                count = 0
                for removed in retention.remove(session, expiry):
                    count += removed
                    progress.add(removed)
            if count:
                progress.end()
                border = f"{expiry.border:%Y-%m-%d %H:%M} UTC"
                done = "would be removed" if dry_run else "removed"
                click.echo(f"{expiry.subdomain}: {count} {done}, from before {border} ({expiry.days} days).")
        if not progress.total:
            click.echo("Nothing to remove.")


@group.command("describe-again")
@click.option("--tenant", "subdomain", help="The subdomain of the only tenant to look at; without it, all of them.")
def describe_again_command(subdomain: str | None) -> None:
    """Fill in what calls were stored without: directions, extensions, and numbers with their country's code.

    To be run after the update that brought these, and after a tenant's country was changed. It may be broken off and
    run again at any time, also while the service runs.
    """
    with refusals():
        tenant_id = get_tenant(db.session(), subdomain).id if subdomain else None
        found = describe_again(db.session(), tenant_id)
    click.echo(f"{found.read:,} call records read, {found.changed:,} of them changed.")
