"""``flask doctor``: what a production checklist asks, and a command can know.

* :mod:`findings`: what is said of each thing that is looked at
* :mod:`configuration`: what the variables say of the installation
* :mod:`tokens`: what is signed is verified, and everything else refused
* :mod:`database`: who we are to the database, and what it enforces
* :mod:`keys`: the master keys and the secrets behind tokens: whether they fit, are of age, or can go
* :mod:`secrets`: one that is stored, read, and thrown away
* :mod:`services`: Redis; and mail, the audit trail, old call records, backups and second factors, which somebody has to
  see to
"""

from __future__ import annotations

from collections.abc import Iterator

from flask import current_app
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.database import reason
from app.doctor import configuration, database, keys, secrets, services, tokens
from app.doctor.findings import Finding, State, failure
from app.extensions import db
from app.tenancy import system_scope

__all__ = ["Finding", "State", "examine"]


def examine() -> Iterator[Finding]:
    """Everything, in the order in which one would mend it. In an application context. Changes nothing."""
    settings: Settings = current_app.extensions["settings"]
    yield from configuration.check(settings)
    yield from tokens.check()
    yield from services.check_redis(settings)
    try:
        yield from _of_database(settings)
    except DBAPIError as error:
        yield failure("database", f"It cannot be used: {reason(error, db.engine.url)}")


def _of_database(settings: Settings) -> Iterator[Finding]:
    with system_scope():
        with db.engine.connect() as connection:
            found = list(database.check_server(settings, connection))
            yield from found
            if any(finding.subject == "migrations" and finding.state is State.FAILURE for finding in found):
                return  # nothing else can be asked of a database that lacks tables
            yield from keys.check(settings, connection)
            yield from keys.check_age(settings, connection)
        yield from secrets.check()
        yield from services.check_mail(settings, db.session())
        yield from services.check_audit(db.session())
        yield from services.check_retention(db.session())
        yield from services.check_backup(db.session())
        yield from services.check_second_factors(db.session())
    if db.engine.dialect.name == "postgresql":
        yield database.check_floor(db.engine)
