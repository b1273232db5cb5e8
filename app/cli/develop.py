"""``flask develop``: everything that ``make run`` does on a developer's machine once the packages are there."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from typing import Final

import click
import flask_migrate
from flask import Blueprint, current_app

from app.config import PROJECT, load_settings
from app.database import now
from app.demonstration import NOT_YET_DELIVERED, OWNER, Demonstration, create_demonstration
from app.extensions import db
from app.startup import check_start
from app.tenancy import system_scope
from app.tenants.service import any_tenant

HOST: Final = "127.0.0.1"
PORTS_TO_TRY: Final = 100


commands = Blueprint("development_commands", __name__, cli_group=None)


@commands.cli.command()
def develop() -> None:
    """Migrate the database, fill an empty one with a demonstration, and serve. Only with APP_ENV=development."""
    settings = load_settings()
    if settings.environment != "development":
        raise click.ClickException("This is for development only, and makes accounts: set APP_ENV=development.")
    flask_migrate.upgrade()
    check_start(current_app, settings)
    with system_scope():
        made = None if any_tenant(db.session()) else create_demonstration(db.session(), now())
    db.session.remove()
    db.engine.dispose()
    port = find_free_port(settings.port)
    click.echo(_introduction(f"http://{HOST}:{port}", made))
    sys.stdout.flush()
    os.environ["PORT"] = str(port)
    os.chdir(PROJECT)
    # In place of this process, so that whoever started it can stop it.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app"])  # noqa: S606


def find_free_port(first: int) -> int:
    """The first port from ``first`` on at which nobody listens. Raises ClickException when there is none."""
    for port in range(first, min(first + PORTS_TO_TRY, 65_536)):
        if _is_free(port):
            return port
    raise click.ClickException(f"No port from {first} on is free: set PORT.")


def _is_free(port: int) -> bool:
    """Asked in both ways: where somebody listens on all addresses, macOS lets another one bind to a single one."""
    with closing(socket.socket()) as client:
        client.settimeout(1)
        if client.connect_ex((HOST, port)) == 0:
            return False
    with closing(socket.socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
    return True


def _introduction(url: str, made: Demonstration | None) -> str:
    if made is None:
        again = f"There are tenants already. A new password: .venv/bin/flask set-password {OWNER}"
        return f"\nAudiaPro runs at {url}\n{again}\n"
    # Each line works by itself, in a shell that knows nothing of the others.
    sign_in = (
        f"curl -sS {url}/api/login -H 'Content-Type: application/json' "
        f'-d \'{{"email": "{OWNER}", "password": "{made.owner_password}"}}\''
    )
    token = f'{sign_in} | sed \'s/.*"access_token": *"\\([^"]*\\)".*/\\1/\''
    return f"""
AudiaPro runs at {url}

A demonstration tenant was made, with four weeks of calls. These passwords are shown this once:
  owner         {OWNER}  {made.owner_password}
  phone system  {made.webhook_username}  {made.webhook_password}

Open {url} in a browser and sign in as the owner. Or in the shell:

Sign in:
{sign_in}

List the phone systems:
curl -sS {url}/api/phone-systems -H "Authorization: Bearer $({token})"

Deliver a call record, as the phone system does:
curl -sS {url}{made.webhook_path} -u '{made.webhook_username}:{made.webhook_password}' -d '{NOT_YET_DELIVERED}'
"""
