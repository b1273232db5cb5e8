"""With the database stopped everything answers, soon, and says so."""

import re
import time
from uuid import UUID

import pytest

from app.extensions import db
from tests.conftest import in_database, make_settings, migrate, running
from tests.servers import FAST_BUT_NOT_DURABLE, Postgres
from tests.test_access import MATRIX, PAGES, routes

SOON = 5
WITHOUT_DATABASE = {"GET /", "GET /docs", "GET /healthz", "GET /openapi.json"}
FILES = {route for route in MATRIX if route.endswith("<path:filename>")}


@pytest.fixture
def postgres_of_our_own():
    with Postgres(FAST_BUT_NOT_DURABLE) as postgres:
        yield postgres


def test_every_route_answers_soon_while_the_database_is_stopped_and_works_afterwards(postgres_of_our_own):
    url = postgres_of_our_own.create_database("stopped").replace("postgresql://", "postgresql+psycopg://")
    with running(make_settings(migrate(url))) as app:
        client = app.test_client()
        with in_database(app):
            app.extensions["encryption"].check_and_register(db.engine)
        login = {"email": "nobody@acme.example", "password": "x"}
        assert client.post("/api/login", json=login).status_code == 401
        postgres_of_our_own.stop()
        for route in sorted(routes(app)):
            method, rule = route.split(" ")
            begin = time.monotonic()
            body = login if rule == "/api/login" else {"token": "x"} if method == "POST" else None
            path = re.sub(r"<[^>]+>", str(UUID(int=0)), rule)
            sent = {"data": body} if route in PAGES else {"json": body}
            status = client.open(path, method=method, **sent).status_code
            assert time.monotonic() - begin < SOON, route
            allowed = {401, 422, 503}  # refused before it is asked
            if route in WITHOUT_DATABASE | FILES:
                allowed = {200, 404}
            elif route in PAGES:  # of nobody: where to sign in, or a form that asks for nothing yet
                allowed = {200, 303, 422, 503}
            assert status in allowed, (route, status)
        assert client.post("/api/login", json=login).status_code == 503
        postgres_of_our_own.start()
        assert client.post("/api/login", json=login).status_code == 401


def test_connections_that_died_in_a_pause_are_replaced_without_anybody_noticing(postgres_of_our_own, monkeypatch):
    monkeypatch.setattr("app.database.PAUSE_SECONDS", 0.0)
    url = postgres_of_our_own.create_database("restarted").replace("postgresql://", "postgresql+psycopg://")
    with running(make_settings(migrate(url))) as app, app.app_context():
        client = app.test_client()
        assert client.get("/readyz").status_code == 200
        postgres_of_our_own.restart()
        assert client.get("/readyz").status_code == 200
