"""``flask create-tenant`` and ``flask set-password``. A password is never an argument: arguments are for all to see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Blueprint

from app.errors import Problem
from app.extensions import db
from app.identity import service as identity
from app.startup import database_or_exit
from app.tenancy import system_scope
from app.tenants import service as tenants

commands = Blueprint("account_commands", __name__, cli_group=None)


@contextmanager
def refusals() -> Iterator[None]:
    """Tell a service's refusal on the terminal. Exit status 1."""
    try:
        with database_or_exit():
            yield
    except Problem as problem:
        details = [f"{error['field']}: {error['message']}" for error in problem.errors or []]
        raise click.ClickException(" ".join([problem.detail, *details])) from None


@commands.cli.command("create-tenant")
@click.option("--name", required=True, help="What the company is called.")
@click.option("--subdomain", required=True, help="Lower-case DNS label, unique.")
@click.option("--admin-email", required=True, help="The owner. Need not have an account yet.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name, such as Europe/Berlin.")
def create_tenant(name: str, subdomain: str, admin_email: str, time_zone: str) -> None:
    """Create a tenant with its owner.

    The password of an owner who is new is asked for, or read from standard input, one line, where that is no terminal.
    """
    with refusals(), system_scope():
        membership = tenants.create_tenant(
            db.session(),
            name=name,
            subdomain=subdomain,
            time_zone=time_zone,
            owner_email=admin_email,
            read_password=read_password,
        )
        click.echo(f"Created tenant {membership.tenant.subdomain}, owned by {membership.user.email}.")


@commands.cli.command("set-password")
@click.argument("email")
def set_password(email: str) -> None:
    """Replace a user's password.

    It is asked for, or read from standard input, one line, where that is no terminal.
    """
    with refusals():
        identity.set_password(db.session(), email, read_password)
    click.echo(f"Set the password of {email}.")


def read_password() -> str:
    """The password: typed twice, or one line of standard input when that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.ClickException("The password is not UTF-8 text.") from None
