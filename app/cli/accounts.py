"""Commands for tenants, users and their sessions. A password is never an argument: arguments are for all to see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Blueprint

from app.errors import Problem
from app.extensions import db
from app.identity import accounts, second_factor, signing_out, users
from app.identity.models import Role
from app.identity.passwords import hash_password
from app.startup import database_or_exit
from app.tenancy import system_scope
from app.tenants import service as tenants
from app.tenants import team

ROLE = click.Choice([role.value for role in Role])

commands = Blueprint("account_commands", __name__, cli_group=None)


@contextmanager
def refusals() -> Iterator[None]:
    """Work on all tenants, and tell a service's refusal on the terminal. Exit status 1."""
    try:
        with database_or_exit(), system_scope():
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
    with refusals():
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
        accounts.set_password(db.session(), email, read_password)
    click.echo(f"Set the password of {email}.")


@commands.cli.command("hash-password")
def hash_password_command() -> None:
    """Print the Argon2id hash of a password, and nothing else.

    It is asked for, or read from standard input, one line, where that is no terminal.
    """
    with refusals():
        click.echo(hash_password(read_password()))


@commands.cli.command("create-user")
@click.argument("email")
@click.option("--tenant", "subdomain", required=True, help="Subdomain of the tenant to join.")
@click.option("--role", type=ROLE, default="member", show_default=True)
def create_user(email: str, subdomain: str, role: str) -> None:
    """Make somebody a member of a tenant.

    The password of a new user is asked for, or read from standard input, one line, where that is no terminal.
    """
    with refusals():
        users.create_user(db.session(), email, subdomain, Role(role), read_password)
    click.echo(f"{email} is {role} of {subdomain}.")


@commands.cli.command("set-role")
@click.argument("email")
@click.argument("role", type=ROLE)
@click.option("--tenant", "subdomain", required=True, help="Subdomain of the tenant.")
def set_role(email: str, role: str, subdomain: str) -> None:
    """Change a member's role. It counts from the next request on."""
    with refusals():
        team.set_role(db.session(), email, subdomain, Role(role))
    click.echo(f"{email} is {role} of {subdomain}.")


@commands.cli.command("disable-user")
@click.argument("email")
@click.option("--undo", is_flag=True, help="Let the user sign in again.")
def disable_user(email: str, undo: bool) -> None:
    """Keep a user from signing in, and end the user's sessions."""
    with refusals():
        users.set_disabled(db.session(), email, not undo)
    click.echo(f"{email} {'can sign in again' if undo else 'is disabled and signed out'}.")


@commands.cli.command("remove-second-factor")
@click.argument("email")
def remove_second_factor(email: str) -> None:
    """Let the password alone sign a user in who has lost the second factor and the recovery codes.

    Be sure who asks for it. The user is told by mail.
    """
    with refusals():
        removed = second_factor.remove(db.session(), users.get_user(db.session(), email).id)
    click.echo(f"{email} {'signs in with the password alone now' if removed else 'has no second factor'}.")


@commands.cli.command("suspend-tenant")
@click.argument("subdomain")
@click.option("--undo", is_flag=True, help="Let everybody in again.")
def suspend_tenant(subdomain: str, undo: bool) -> None:
    """Close a tenant to its members and its phone systems, and end its sessions. Nothing is deleted."""
    with refusals():
        tenants.set_suspended(db.session(), subdomain, not undo)
    click.echo(f"{subdomain} {'is open again' if undo else 'is suspended; everybody was signed out'}.")


@commands.cli.command("revoke-tokens")
@click.option("--user", "email", help="Of one user, by e-mail address.")
@click.option("--tenant", "subdomain", help="Of one tenant, by subdomain.")
@click.option("--all", "everybody", is_flag=True, help="Of everybody.")
def revoke_tokens(email: str | None, subdomain: str | None, everybody: bool) -> None:
    """Sign out a user, a tenant or everybody: no token of theirs is accepted any more, from the next request on.

    API keys are the tenants' own and stay: an owner or admin deletes one, suspend-tenant stops all of a tenant.
    """
    if [email is not None, subdomain is not None, everybody].count(True) != 1:
        raise click.UsageError("Give one of --user, --tenant and --all.")
    with refusals():
        session = db.session()
        if email is not None:
            ended = signing_out.end_of_user(session, users.get_user(session, email).id)
        elif subdomain is not None:
            ended = signing_out.end_of_tenant(session, users.get_tenant(session, subdomain).id)
        else:
            ended = signing_out.end_of_everybody(session)
    click.echo(f"{ended} {'session' if ended == 1 else 'sessions'} ended.")


def read_password() -> str:
    """The password: typed twice, or one line of standard input when that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.ClickException("The password is not UTF-8 text.") from None
