"""A phone system of Alice's and one of Charlie's, and code that runs in the scope of Alice's tenant."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from apiflask import APIFlask
from sqlalchemy import select

from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.tenancy import tenant_scope
from tests.conftest import Person, in_database

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@dataclass(frozen=True)
class PhoneSystems:
    ours: UUID
    theirs: UUID


@pytest.fixture
def stored(app: APIFlask, alice: Person, charlie: Person) -> PhoneSystems:
    with in_database(app):
        rows = [PhoneSystem(tenant_id=person.tenant_id, name="PBX", vendor="asterisk") for person in (alice, charlie)]
        db.session.add_all(rows)
        db.session.commit()
        return PhoneSystems(*(row.id for row in rows))


@pytest.fixture
def in_scope(app: APIFlask, alice: Person) -> Iterator[None]:
    with app.app_context(), tenant_scope(alice.tenant_id):
        yield


def names(app: APIFlask) -> set[str]:
    """Of all phone systems there are."""
    with in_database(app):
        return set(db.session.scalars(select(PhoneSystem.name)))
