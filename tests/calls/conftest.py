"""A phone system of Alice's, and what it delivers."""

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.calls.models import Call
from app.extensions import db
from app.phone_systems.service import phone_systems
from tests.conftest import Person, in_database
from tests.data import captured_body


@dataclass(frozen=True)
class Hook:
    """Where a phone system delivers, and its credentials."""

    app: APIFlask
    path: str
    username: str
    password: str

    def deliver(
        self,
        body: bytes | dict[str, Any] | None = None,
        *,
        path: str = "",
        credentials: tuple[str, str] | None = ("", ""),
        content_type: str = "application/x-www-form-urlencoded",
        **options: Any,
    ) -> TestResponse:
        """Deliver the answered call, or ``body``. Credentials: None for none, "" for the right one."""
        if isinstance(body, dict):
            body, content_type = json.dumps(body).encode(), "application/json"
        headers = dict(options.pop("headers", {}))
        if credentials is not None:
            username, password = credentials
            headers["Authorization"] = basic(username or self.username, password or self.password)
        data = captured_body("asterisk/answered.http") if body is None else body
        client: FlaskClient = self.app.test_client()
        return client.post(path or self.path, data=data, headers=headers, content_type=content_type, **options)

    def stored(self) -> list[Call]:
        with in_database(self.app):
            return list(db.session.scalars(select(Call)))


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def make_hook(app: APIFlask, owner: Person, **attributes: Any) -> Hook:
    with in_database(app):
        values = {"name": "HQ", "vendor": "asterisk", "time_zone": "Europe/Paris"} | attributes
        phone_system = phone_systems.create(db.session(), owner.tenant_id, values)
        return Hook(
            app, phone_system.webhook_path, phone_system.webhook_username or "", phone_system.webhook_password or ""
        )


@pytest.fixture
def hook(app: APIFlask, alice: Person) -> Hook:
    return make_hook(app, alice)
