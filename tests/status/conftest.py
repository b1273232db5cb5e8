"""An installation of which everything can be told."""

from dataclasses import replace

import pytest
from apiflask import APIFlask

from app.audit.models import AuditSeal
from app.database import now
from app.extensions import db
from app.identity import signing_keys
from app.mail.models import Mail
from tests.conftest import Person, in_database
from tests.status.scraped import Scraped, scrape_counted


@pytest.fixture
def everything(app: APIFlask, alice: Person, redis_url: str) -> Scraped:
    """What /metrics answers with Redis, once there was a request, a rotation, a mail, a seal, and a limit was met."""
    app.extensions["settings"] = replace(app.extensions["settings"], redis_url=redis_url)
    with in_database(app):
        db.session.add(Mail(kind="reset_password", expires_at=now()))
        db.session.add(AuditSeal(number=1, sealed_at=now(), content={}))
        db.session.commit()
        with db.engine.connect() as connection:
            signing_keys.register(connection, app.extensions["signing_keys"].current_id)
    assert app.test_cli_runner().invoke(args=["rotate-encryption-key"]).exit_code == 0
    for _ in range(11):
        app.test_client().post("/api/login", json={"email": alice.email, "password": "wrong"})
    return scrape_counted(app)
