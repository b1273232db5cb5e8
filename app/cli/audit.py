"""``flask audit``: seal the audit trail, verify it, and read it."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Final

import click
from flask import Blueprint, current_app
from flask.cli import AppGroup

from app.audit import seals, service
from app.cli.accounts import refusals
from app.extensions import db
from app.identity.users import get_tenant
from app.pagination import PageQuery
from app.tenancy import system_scope, tenant_scope

EXIT_ALTERED: Final = 1

commands = Blueprint("audit_commands", __name__, cli_group=None)
group = AppGroup("audit", help="The audit trail: seal it, verify it, read it.")
commands.cli.add_command(group)


@group.command("seal")
def seal() -> None:
    """Seal the events since the last time, and remove those that are older than AUDIT_RETENTION_DAYS.

    To be run every hour, say. Keep the digest that it prints somewhere else: it shows whether seals were removed.
    """
    retention: timedelta = current_app.extensions["audit_retention"]
    with refusals():
        made = seals.seal(db.session())
        expired = seals.expire(db.session(), retention)
    if made is None:
        click.echo("Nothing to seal.")
    else:
        if made.is_after_break:
            click.echo(f"Before seal {made.number} there is a break: see `flask audit verify`.", err=True)
        click.echo(f"Seal {made.number}: {made.events} events, digest {made.digest}")
    if expired.events:
        click.echo(f"Removed {expired.events} events of {expired.seals} seals: older than {retention.days} days.")


@group.command("verify")
@click.option("--digest", help="That of the newest seal, or of one before, as it was printed: it must still be there.")
def verify(digest: str | None) -> None:
    """Compare every event with its seal. Exit status 1: something was altered, added, or removed."""
    retention: timedelta = current_app.extensions["audit_retention"]
    with refusals():
        verified = seals.verify(db.session(), retention, digest)
    for problem in verified.problems:
        click.echo(problem)
    click.echo(f"{verified.seals} seals, {verified.events} events under them, {verified.unsealed} not sealed yet.")
    if verified.problems:
        sys.exit(EXIT_ALTERED)
    click.echo("Nothing was altered.")


@group.command("list")
@click.option("--tenant", "subdomain", help="Only of this tenant, by subdomain.")
@click.option("--action", help="Only this action, such as session.started.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at the most.")
def list_events(subdomain: str | None, action: str | None, limit: int) -> None:
    """Print events, newest first, each as one line of JSON: of one tenant, or of all and of none in particular."""
    filters, page = service.Filters(action=action), PageQuery(limit=limit)
    with refusals():
        session = db.session()
        scope = tenant_scope(get_tenant(session, subdomain).id) if subdomain is not None else system_scope()
        with scope:
            found, _ = service.list_page(session, filters, page)
    for event in found:
        click.echo(json.dumps(service.shown(event), default=str, ensure_ascii=False))
