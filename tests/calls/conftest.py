"""A phone system of Alice's, and what it delivers."""

import hmac
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.calls.models import Call
from app.calls.service import Stored, store_records
from app.extensions import db
from app.phone_systems.service import phone_systems
from app.phone_systems.vendors import CallRecord, authentication_of
from tests.conftest import Person, in_database
from tests.data import captured_body

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = "0123456789abcdefABCDEF0123456789"  # as a Yeastar would make one
RECORD = CallRecord(
    record_key="0",
    linked_id="1",
    source="100",
    destination="101",
    caller_name="Ada",
    started_at=NOON,
    answered_at=None,
    ended_at=NOON,
    duration_seconds=0,
    talk_seconds=0,
    disposition="busy",
    details={"userfield": "x"},
)


@dataclass(frozen=True)
class Hook:
    """Where a phone system delivers, and its credentials."""

    app: APIFlask
    path: str
    username: str
    password: str
    signs: bool = False

    @property
    def phone_system_id(self) -> UUID:
        return UUID(self.path.split("/")[3])

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
        data = captured_body("asterisk/answered.http") if body is None else body
        if self.signs and credentials is not None:
            headers["X-Signature"], credentials = sign(data, credentials[1] or self.password), None
        if credentials is not None:
            username, password = credentials
            headers["Authorization"] = basic(username or self.username, password or self.password)
        client: FlaskClient = self.app.test_client()
        return client.post(path or self.path, data=data, headers=headers, content_type=content_type, **options)

    def stored(self) -> list[Call]:
        with in_database(self.app):
            return list(db.session.scalars(select(Call)))


def store(app: APIFlask, hook: Hook, found: Sequence[CallRecord], owner: Person) -> Stored:
    with in_database(app):
        return store_records(db.session(), owner.tenant_id, hook.phone_system_id, found)


def store_legs(app: APIFlask, hook: Hook, owner: Person, *legs: dict[str, Any]) -> list[str]:
    """Store a record for each, with those fields and the rest of ``RECORD``, but for a call and a key of its own. Their
    ids, in this order."""
    known = len(hook.stored())
    found = [
        replace(RECORD, **{"record_key": f"leg {known + n}", "linked_id": f"call {known + n}"} | leg)
        for n, leg in enumerate(legs)
    ]
    return [str(call_id) for call_id in store(app, hook, found, owner).ids]


def sign(body: bytes, secret: str) -> str:
    return b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def make_hook(app: APIFlask, owner: Person, **attributes: Any) -> Hook:
    with in_database(app):
        values = {"name": "HQ", "vendor": "asterisk", "time_zone": "Europe/Paris"} | attributes
        signs = authentication_of(values["vendor"]).made_by_pbx
        if signs:
            values = {"webhook_password": SECRET} | values
        phone_system = phone_systems.create(db.session(), owner.tenant_id, values)
        username, password = phone_system.webhook_username or "", phone_system.webhook_password or ""
        return Hook(app, phone_system.webhook_path, username, password, signs)


@pytest.fixture
def hook(app: APIFlask, alice: Person) -> Hook:
    return make_hook(app, alice)
