"""PostgreSQL keeps tenants apart: a role for the web processes, and row-level security

Revision: 0002, after 0001

Not FORCE: the owner of the tables goes on seeing every row, so that a rotation or `pg_dump` cannot pass over any
without a word. A table that a later migration adds is closed to the web role until that migration grants what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

from app.startup import say
from app.tenancy.floor import MAY_BE_WEB_ROLE, WEB_ROLE

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What a web process does with each table outside system_scope().
PRIVILEGES = {
    "alembic_version": "SELECT",
    "encryption_keys": "SELECT",
    "retired_encryption_keys": "SELECT",
    "tenants": "SELECT",
    "users": "SELECT, UPDATE",
    "memberships": "SELECT",
    "phone_systems": "SELECT, INSERT, UPDATE, DELETE",
    "payment_accounts": "SELECT, INSERT, UPDATE, DELETE",
    "api_credentials": "SELECT, INSERT, UPDATE, DELETE",
    "calls": "SELECT, INSERT, UPDATE",
}
# Which column says whose a row is.
OWNED_BY = {
    "tenants": "id",
    "memberships": "tenant_id",
    "phone_systems": "tenant_id",
    "payment_accounts": "tenant_id",
    "api_credentials": "tenant_id",
    "calls": "tenant_id",
}
TENANT = "NULLIF(current_setting('app.tenant_id', true), '')::uuid"
INSUFFICIENT_PRIVILEGE = "42501"
DEPENDENT_OBJECTS = "2BP01"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in OWNED_BY.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})")
    role = quoted_role()
    if not attempt(lambda: make(role), INSUFFICIENT_PRIVILEGE):
        say(
            f"This database login may not make the role {role}: tenants are kept apart by the application alone. See "
            "`Tenants are kept apart` in docs/security.md."
        )
        return
    if not scalar(f"has_schema_privilege({WEB_ROLE}, current_schema(), 'USAGE')"):
        op.execute(f"GRANT USAGE ON SCHEMA {scalar('quote_ident(current_schema())')} TO {role}")
    for table, privileges in PRIVILEGES.items():
        op.execute(f"GRANT {privileges} ON {table} TO {role}")
    if owns_database():  # who keeps the right to connect
        op.execute(f"REVOKE CONNECT ON DATABASE {quoted_database()} FROM PUBLIC")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    role = quoted_role()
    if owns_database():
        op.execute(f"GRANT CONNECT ON DATABASE {quoted_database()} TO PUBLIC")
    if exists():
        op.execute(f"DROP OWNED BY {role}")  # it owns nothing: this takes back what it was granted
        if not attempt(lambda: op.execute(f"DROP ROLE {role}"), INSUFFICIENT_PRIVILEGE, DEPENDENT_OBJECTS):
            say(f"The role {role} was left: this database login may not drop it, or another database uses it.")
    for table in OWNED_BY:
        op.execute(f"DROP POLICY own_rows ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def make(role: str) -> None:
    """Make the role, or use the one that somebody with more rights has made and granted to us."""
    if not exists():
        op.execute(f"CREATE ROLE {role} NOLOGIN")
    if not scalar(MAY_BE_WEB_ROLE):
        op.execute(f"GRANT {role} TO CURRENT_USER")


def attempt(step: Callable[[], object], *refusals: str) -> bool:
    """Whether the step was allowed. What it did before it was refused is undone."""
    try:
        with op.get_bind().begin_nested():
            step()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in refusals:
            raise
        return False
    return True


def exists() -> bool:
    return scalar(f"EXISTS (SELECT FROM pg_roles WHERE rolname = {WEB_ROLE})")


def owns_database() -> bool:
    return scalar("pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE')")


def quoted_role() -> str:
    return scalar(f"quote_ident({WEB_ROLE})")


def quoted_database() -> str:
    return scalar("quote_ident(current_database())")


def scalar(expression: str) -> Any:
    return op.get_bind().execute(sa.text(f"SELECT {expression}")).scalar_one()
