"""The cast at their browsers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy import event

from app.dashboard.cookie import Owner, new_csrf_token
from app.extensions import db
from tests.conftest import Person
from tests.dashboard.visitor import Visitor


def signed_in_visitor(app: APIFlask, person: Person) -> Visitor:
    """A browser with the cookie of the person's session."""
    client = app.test_client()
    with client.session_transaction() as cookie:
        cookie["subject"] = [str(one) for one in person.subject]
        cookie["csrf_token"] = new_csrf_token(Owner(person.user_id, person.tenant_id))
    return Visitor(client)


@pytest.fixture
def visitor(app: APIFlask) -> Visitor:
    """Somebody who is not signed in."""
    return Visitor(app.test_client())


@pytest.fixture
def alice_visits(app: APIFlask, alice: Person) -> Visitor:
    return signed_in_visitor(app, alice)


@pytest.fixture
def bob_visits(app: APIFlask, bob: Person) -> Visitor:
    return signed_in_visitor(app, bob)


@pytest.fixture
def charlie_visits(app: APIFlask, charlie: Person) -> Visitor:
    return signed_in_visitor(app, charlie)


@contextmanager
def statements(app: APIFlask) -> Iterator[list[str]]:
    """The SQL that runs meanwhile, without what begins a transaction and sets its scope."""
    seen: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if not statement.startswith(("BEGIN", "SELECT set_config")):
            seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", see)
