"""An installation of which everything can be told."""

import pytest
from apiflask import APIFlask

from app.database import now
from app.extensions import db
from app.mail.models import Mail
from tests.conftest import Person, in_database
from tests.status.scraped import Scraped, scrape_counted


@pytest.fixture
def everything(app: APIFlask, alice: Person) -> Scraped:
    """What /metrics answers once there was a request, a rotation and a mail, and a limit was met."""
    with in_database(app):
        db.session.add(Mail(kind="reset_password", expires_at=now()))
        db.session.commit()
    assert app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
    for _ in range(11):
        app.test_client().post("/api/login", json={"email": alice.email, "password": "wrong"})
    return scrape_counted(app)
