"""Which tables and columns there are in a database of an older version: what its migrations make of an empty one."""

from __future__ import annotations

from collections.abc import Collection

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from flask import current_app
from sqlalchemy import MetaData, create_engine, inspect
from sqlalchemy.pool import StaticPool


def tables_at(revisions: Collection[str], metadata: MetaData) -> dict[str, set[str]]:
    """The names of columns by table, at these migrations, which must be known ones. They run in memory, in about
    a tenth of a second. metadata: of the models, for the names of constraints. Needs an application context."""
    scripts = ScriptDirectory.from_config(current_app.extensions["migrate"].migrate.get_config())
    made = {script.revision for revision in revisions for script in scripts.iterate_revisions(revision, "base")}
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.begin() as connection:
            with Operations.context(MigrationContext.configure(connection, opts={"target_metadata": metadata})):
                for script in reversed(list(scripts.walk_revisions())):
                    if script.revision in made:
                        script.module.upgrade()
            found = inspect(connection)
            return {table: {column["name"] for column in found.get_columns(table)} for table in found.get_table_names()}
    finally:
        engine.dispose()
