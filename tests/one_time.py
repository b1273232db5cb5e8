"""What holds for everything that a link in a mail is good for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier, get_ident
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import event, select, text, update
from werkzeug.test import TestResponse

from app.database import now
from app.extensions import db
from app.identity.models import UserSession
from tests.conftest import in_database


def post(client: FlaskClient, url: str, address: str = "192.0.2.1", **body: Any) -> TestResponse:
    return client.post(url, json=body, environ_overrides={"REMOTE_ADDR": address})


def twenty_at_once(app: APIFlask, url: str, **body: Any) -> list[int]:
    """The statuses of the same request, sent twenty times at once, each from another address."""
    together = Barrier(20)

    def use(number: int) -> int:
        client = app.test_client()
        together.wait()
        return post(client, url, f"198.51.100.{number}", **body).status_code

    with ThreadPoolExecutor(20) as threads:
        return sorted(threads.map(use, range(20)))


@contextmanager
def statements(app: APIFlask) -> Iterator[list[str]]:
    """What is sent to the database by this thread, on a connection that knows its role."""
    seen, thread = [], get_ident()
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))

    def see(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if get_ident() == thread:
            seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", see)
    yield seen
    event.remove(engine, "before_cursor_execute", see)


def is_refused_link(answer: TestResponse) -> bool:
    """Whether it is the one answer to every link that is not good any more."""
    return answer.status_code == 422 and answer.json["detail"] == "The link is not valid any more."


def expire(app: APIFlask, model: Any) -> None:
    with in_database(app):
        db.session.execute(update(model).values(expires_at=now()))
        db.session.commit()


def grow_stale(app: APIFlask) -> None:
    """It is a while since anybody has proved who they are."""
    with in_database(app):
        db.session.execute(update(UserSession).values(authenticated_at=now() - timedelta(minutes=6)))
        db.session.commit()


def is_stale(answer: TestResponse) -> bool:
    return answer.status_code == 401 and "insufficient_user_authentication" in answer.headers["WWW-Authenticate"]


def contents(app: APIFlask) -> str:
    """All that is stored."""
    with in_database(app), db.engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in db.metadata.sorted_tables])
