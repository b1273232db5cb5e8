from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from app.calls.models import Call
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from app.phone_systems.schemas import PhoneSystemCreated
from tests.conftest import in_database

URL = "/api/phone-systems"
MINIMAL = {"name": "Headquarters", "vendor": "asterisk"}


def create(person, **more):
    answer = person.client.post(URL, json=MINIMAL | more)
    assert answer.status_code == 201, answer.json
    return answer.json


def change(person, created, **changes):
    answer = person.client.patch(f"{URL}/{created['id']}", json=changes)
    assert answer.status_code == 200, answer.json
    return answer.json


def stored(app, created):
    with in_database(app):
        return db.session.scalars(select(PhoneSystem).where(PhoneSystem.id == UUID(created["id"]))).one()


def test_a_webhook_password_that_is_not_given_is_generated_and_shown_once(app, alice):
    created = create(alice)
    assert len(urlsafe_b64decode(created["webhook_password"])) == 24
    assert created["webhook_username"] == "pbx"
    assert created["webhook_password_set"] is True
    assert created["webhook_path"] == f"/hooks/acme/{created['id']}/cdr"
    with in_database(app):
        assert db.session.merge(stored(app, created)).webhook_password == created["webhook_password"]
    assert "webhook_password" not in alice.client.get(f"{URL}/{created['id']}").json
    assert "webhook_password" not in alice.client.get(URL).json["items"][0]
    assert "webhook_password" not in change(alice, created, name="Branch")


@pytest.mark.parametrize("given", [{"webhook_password": None}, {"webhook_username": None}])
def test_null_is_not_given(alice, given):
    created = create(alice, **given)
    assert created["webhook_password"]
    assert created["webhook_username"] == "pbx"


def test_a_webhook_password_that_is_given_is_not_shown(app, alice):
    created = create(alice, webhook_username="me", webhook_password="hunter2")
    assert "webhook_password" not in created
    assert "hunter2" not in str(created)
    with in_database(app):
        assert db.session.merge(stored(app, created)).webhook_password == "hunter2"


def test_null_removes_the_webhook_password(app, alice):
    created = create(alice)
    changed = change(alice, created, webhook_password=None)
    assert changed["webhook_password_set"] is False
    assert changed["notices"] == []
    with in_database(app):
        assert db.session.merge(stored(app, created)).webhook_password is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://pbx.acme.example", "https://evil.example"),
        ("https://pbx.acme.example", "http://pbx.acme.example"),
        ("https://pbx.acme.example", "https://pbx.acme.example:8443"),
        ("https://pbx.acme.example/a", "https://pbx.acme.example/b"),
        ("https://pbx.acme.example", None),
        (None, "https://evil.example"),
    ],
)
def test_changing_the_url_removes_the_password_and_says_so(app, alice, old, new):
    created = create(alice, base_url=old, password="hunter2")
    changed = change(alice, created, base_url=new)
    assert changed["base_url"] == new
    assert changed["password_set"] is False
    assert changed["webhook_password_set"] is True
    assert [notice["field"] for notice in changed["notices"]] == ["password"]
    assert "base_url" in changed["notices"][0]["message"]
    with in_database(app):
        assert db.session.merge(stored(app, created)).password is None
    assert change(alice, created, base_url="https://third.example")["notices"] == []


def test_changing_the_url_with_the_password_stores_both(app, alice):
    created = create(alice, base_url="https://pbx.acme.example", password="hunter2")
    changed = change(alice, created, base_url="https://new.acme.example", password="hunter3")
    assert (changed["password_set"], changed["notices"]) == (True, [])
    with in_database(app):
        assert db.session.merge(stored(app, created)).password == "hunter3"


@pytest.mark.parametrize(
    "same", ["HTTPS://PBX.Acme.Example", "https://pbx.acme.example:443/", " https://pbx.acme.example"]
)
def test_another_spelling_of_the_same_url_keeps_the_password(alice, same):
    created = create(alice, base_url="https://pbx.acme.example", password="hunter2")
    changed = change(alice, created, base_url=same)
    assert (changed["base_url"], changed["password_set"]) == ("https://pbx.acme.example", True)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("http://192.0.2.1:8088/ari/", "http://192.0.2.1:8088/ari"),
        ("http://2130706433", "http://127.0.0.1"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
    ],
)
def test_a_url_is_stored_in_its_one_spelling(alice, given, stored):
    assert create(alice, base_url=given)["base_url"] == stored


NO_ADDRESSES = [
    "",
    "pbx.acme.example",
    "ftp://pbx.acme.example",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://",
    "https://user@pbx.acme.example",
    "https://user:hunter2@pbx.acme.example",
    "https://:hunter2@pbx.acme.example",
    "https://pbx.acme.example?",
    "https://pbx.acme.example/?a=b",
    "https://pbx.acme.example#",
    "https://pbx.acme.example/#a",
    "https://pbx acme.example",
    "https://pbx.acme.example:99999",
    "https://pbx\0.acme.example",
    "https://pbx%00.acme.example",
    "https://" + "x" * 300,
    7,
]


def test_what_is_no_address_of_a_pbx_is_refused(alice):
    for url in NO_ADDRESSES:
        answer = alice.client.post(URL, json=MINIMAL | {"base_url": url})
        assert answer.status_code == 422, url
        assert [error["field"] for error in answer.json["errors"]] == ["base_url"]
        assert "hunter2" not in answer.text


def test_deleting_a_phone_system_keeps_its_calls(app, alice):
    created, other = create(alice), create(alice)
    with in_database(app):
        for number, phone_system in enumerate((created, other)):
            call = {
                "record_key": str(number),
                "source": "1",
                "destination": "2",
                "started_at": datetime.now(UTC),
                "duration_seconds": 1,
                "talk_seconds": 1,
                "disposition": "answered",
                "details": {},
            }
            db.session.add(Call(tenant_id=alice.tenant_id, phone_system_id=stored(app, phone_system).id, **call))
        db.session.commit()
    assert alice.client.delete(f"{URL}/{created['id']}").status_code == 204
    with in_database(app):
        calls = db.session.scalars(select(Call).order_by(Call.record_key)).all()
        assert [str(call.phone_system_id) for call in calls] == ["None", other["id"]]


def test_a_stored_password_cannot_be_read_into_the_answer_to_a_creation(app, alice):
    created = create(alice)
    with in_database(app), pytest.raises(ValidationError):
        PhoneSystemCreated.model_validate(db.session.get(PhoneSystem, UUID(created["id"])))
