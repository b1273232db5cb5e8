import base64
import json
from io import BytesIO

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.extensions import db
from app.phone_systems.models import PhoneSystem
from tests.conftest import in_database

URL = "/api/phone-systems"
GOOD = {"name": "Headquarters", "vendor": "asterisk"}


def stored(app):
    with in_database(app):
        return db.session.scalar(select(func.count()).select_from(PhoneSystem))


def is_problem(answer, status):
    body = json.loads(answer.data)
    assert answer.status_code == body["status"] == status, body
    assert answer.content_type == "application/problem+json"
    assert body.keys() - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert all(body[name] for name in ("type", "title", "detail", "request_id"))
    assert ("errors" in body) == (status == 422)
    assert all(error.keys() == {"field", "message"} and error["message"] for error in body.get("errors", []))
    assert "Traceback" not in answer.text
    return body


MALFORMED = {
    "nothing": b"",
    "no JSON": b"name=Headquarters",
    "cut off": b'{"name": "Headquarters", "vendor": "asterisk"',
    "something after": b'{"name": "Headquarters", "vendor": "asterisk"} {}',
    "a key twice": b'{"name": "Headquarters", "name": "Branch", "vendor": "asterisk"}',
    "a key twice, deep inside": b'{"name": {"a": {"b": 1, "b": 2}}, "vendor": "asterisk"}',
    "NaN": b'{"name": NaN, "vendor": "asterisk"}',
    "Infinity": b'{"name": -Infinity, "vendor": "asterisk"}',
    "lists without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "half a surrogate pair": b'{"name": "\\ud800", "vendor": "asterisk"}',
    "the other half": b'{"name": "\\uDFFF", "vendor": "asterisk"}',
    "half a surrogate pair in a key": b'{"\\ud800": "Headquarters", "vendor": "asterisk"}',
    "half a surrogate pair in UTF-8": b'{"name": "\xed\xa0\x80", "vendor": "asterisk"}',
    "Latin-1": '{"name": "Zürich", "vendor": "asterisk"}'.encode("latin-1"),
    "UTF-16": '{"name": "Headquarters", "vendor": "asterisk"}'.encode("utf-16"),
    "a number of 10,000 digits": b'{"name": ' + b"1" * 10_000 + b"}",
}


def test_malformed_json_is_a_bad_request(app, alice):
    for name, body in MALFORMED.items():
        answer = alice.client.post(URL, data=body, content_type="application/json")
        assert answer.status_code == 400, name
        assert "not JSON" in is_problem(answer, 400)["detail"]
    assert stored(app) == 0


INVALID = {
    "a list": [],
    "text": "Headquarters",
    "null": None,
    "a number": 1,
    "no fields": {},
    "an unknown field": GOOD | {"colour": "red"},
    "a protected field": GOOD | {"tenant_id": "00000000-0000-0000-0000-000000000000"},
    "an id": GOOD | {"id": "00000000-0000-0000-0000-000000000000"},
    "storage of a secret": GOOD | {"password_encrypted": "v1:00000000:gAAAA"},
    "a number as a name": GOOD | {"name": 1},
    "true as a name": GOOD | {"name": True},
    "null as a name": GOOD | {"name": None},
    "a list as a name": GOOD | {"name": ["Headquarters"]},
    "an empty name": GOOD | {"name": ""},
    "a blank name": GOOD | {"name": " \t "},
    "a long name": GOOD | {"name": "x" * 256},
    "NUL in a name": GOOD | {"name": "Head\0quarters"},
    "a line break in a name": GOOD | {"name": "Head\nquarters"},
    "another vendor": GOOD | {"vendor": "acme"},
    "a vendor in capitals": GOOD | {"vendor": "Asterisk"},
    "an empty password": GOOD | {"password": ""},
    "a long password": GOOD | {"password": "x" * 4097},
    "a number as a password": GOOD | {"password": 12345678},
    "an object as a password": GOOD | {"password": {"": "hunter2"}},
    "NUL in a user name": GOOD | {"username": "a\0b"},
    "a colon in a user name": GOOD | {"webhook_username": "a:b"},
    "no time zone": GOOD | {"time_zone": "Atlantis/Capital"},
    "a file as a time zone": GOOD | {"time_zone": "../../etc/passwd"},
    "NUL as a time zone": GOOD | {"time_zone": "\0"},
}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_does_not_fit_is_invalid(app, alice, method):
    url = alice.client.post(URL, json=GOOD).headers["Location"] if method == "PATCH" else URL
    before = stored(app)
    for name, body in INVALID.items():
        if method == "PATCH" and name in ("no fields", "null"):
            continue
        answer = alice.client.open(url, method=method, data=json.dumps(body), content_type="application/json")
        assert answer.status_code == 422, name
        problem = is_problem(answer, 422)
        assert problem["errors"], name
        assert "hunter2" not in answer.text
    assert stored(app) == before
    if method == "PATCH":
        assert alice.client.get(url).json.items() >= GOOD.items()


def test_the_field_is_named(alice):
    body = GOOD | {"colour": "red", "name": "", "time_zone": "Atlantis"}
    problem = is_problem(alice.client.post(URL, json=body), 422)
    assert sorted(error["field"] for error in problem["errors"]) == ["colour", "name", "time_zone"]


def test_an_oversized_body_is_too_large(app, alice):
    big = json.dumps(GOOD | {"name": "x" * 1024 * 1024})
    is_problem(alice.client.post(URL, data=big, content_type="application/json"), 413)
    assert stored(app) == 0


def test_an_oversized_body_of_no_stated_length_is_too_large(app, alice):
    """What is behind the limit must not be cut off: here it is what makes the body no JSON."""
    answer = alice.client.post(
        URL,
        input_stream=BytesIO(json.dumps(GOOD).encode() + b" " * 1024 * 1024 + b"garbage"),
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    is_problem(answer, 413)
    assert stored(app) == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", None])
def test_another_content_type_is_not_supported(app, alice, content_type):
    is_problem(alice.client.post(URL, data=json.dumps(GOOD), content_type=content_type), 415)
    assert stored(app) == 0


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/merge-patch+json"])
def test_types_of_json_are_supported(alice, content_type):
    assert alice.client.post(URL, data=json.dumps(GOOD), content_type=content_type).status_code == 201


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/nowhere", f"{URL}/", f"{URL}/x", f"{URL}/00000000"])
def test_what_is_not_there_is_not_found(alice, path):
    is_problem(alice.client.get(path), 404)


def test_another_method_is_not_allowed(alice):
    for method in ("PUT", "DELETE", "PATCH"):
        answer = alice.client.open(URL, method=method)
        is_problem(answer, 405)
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=", "limit=1e2", "cursor=", "cursor=x", "cursor=%00", "page=2"]
)
def test_a_list_takes_no_other_query(alice, query):
    is_problem(alice.client.get(f"{URL}?{query}"), 422)


@pytest.mark.parametrize("content", ["[" * 2000, "[]", "[1]", "[null]", '["x"]', "{}", '{"a": 1}', '["0", "1"]', "NaN"])
def test_a_made_up_cursor_is_invalid(alice, content):
    cursor = base64.urlsafe_b64encode(content.encode()).decode()
    is_problem(alice.client.get(URL, query_string={"cursor": cursor}), 422)


def test_a_failure_says_nothing_but_the_request_id(app, alice, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("hunter2")

    monkeypatch.setattr("app.phone_systems.service.phone_systems.list_page", fail)
    answer = alice.client.get(URL)
    problem = is_problem(answer, 500)
    assert "hunter2" not in answer.text
    assert problem["request_id"] in caplog.text


def test_a_database_that_is_gone_is_unavailable(app, alice, monkeypatch):
    def fail(*args):
        raise OperationalError("SELECT 'hunter2'", {}, Exception("hunter2"))

    monkeypatch.setattr("app.phone_systems.service.phone_systems.list_page", fail)
    answer = alice.client.get(URL)
    is_problem(answer, 503)
    assert answer.headers["Retry-After"]
    assert "hunter2" not in answer.text


def test_every_request_has_an_id_of_its_own(client):
    ids = {client.get("/nowhere").json["request_id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("path", ["/api//me", "/api/login/", "/docs/"])
def test_no_answer_leads_to_the_host_that_the_request_names(client, path):
    answer = client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "evil.example" not in answer.text + str(answer.headers)
