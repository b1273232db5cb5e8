"""Deliveries over HTTP: who is let in, what is stored, what is refused."""

import hmac
import json
import logging
import re
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from limits import parse
from sqlalchemy import event, text, update
from werkzeug.test import create_environ, run_wsgi_app

from app.encryption import sealed
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.limits.limit import Limit
from app.phone_systems.models import PhoneSystem
from app.phone_systems.vendors import VENDORS
from app.tenants import service as tenants
from tests.calls.conftest import SECRET, basic, make_hook, sign
from tests.conftest import in_database
from tests.data import captured_body, captured_events, captured_request

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("capture", ["asterisk/answered.http", "asterisk/busy.http"])
def test_what_a_real_asterisk_posted_is_stored_once(app, alice, capture):
    hook = make_hook(app, alice, webhook_username="pbx-hook", webhook_password="example-webhook-password")
    headers, body = captured_request(capture)
    first, again = (app.test_client().post(hook.path, data=body, headers=headers) for _ in range(2))
    (call,) = hook.stored()
    assert (first.status_code, first.json) == (201, {"ids": [str(call.id)], "new": 1})
    assert (again.status_code, again.json) == (200, {"ids": [str(call.id)], "new": 0})
    assert (call.tenant_id, call.demonstration) == (alice.tenant_id, False)


def test_a_grandstream_delivers_json(app, alice):
    hook = make_hook(app, alice, vendor="grandstream", time_zone=None)
    fields = {"AcctId": "1", "src": "5300", "dst": "5301", "clid": "", "uniqueid": "1.0", "disposition": "NO ANSWER"}
    fields |= {"start": "2026-07-01 12:00:00", "end": "2026-07-01 12:00:20", "duration": 20, "billsec": "0"}
    assert hook.deliver(fields).status_code == 201
    (call,) = hook.stored()
    assert (call.started_at, call.disposition) == (datetime(2026, 7, 1, 12, tzinfo=UTC), "no_answer")


YEASTAR = json.dumps(dict(VENDORS["yeastar"].BODIES["application/json"].example)).encode()


def test_a_yeastar_signs_what_it_delivers(app, alice):
    hook = make_hook(app, alice, vendor="yeastar", webhook_password=SECRET)
    headers = {"X-Signature": sign(YEASTAR, SECRET)}
    answers = [
        app.test_client().post(hook.path, data=YEASTAR, headers=headers, content_type="application/json")
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]
    (call,) = hook.stored()
    assert (call.source, call.disposition) == ("+442071234567", "answered")


def test_a_freeswitch_delivers_in_each_form_with_its_own_query(app, alice):
    hook = make_hook(app, alice, vendor="freeswitch")
    for content_type, body in VENDORS["freeswitch"].BODIES.items():
        data = {FORM: urlencode, "application/json": json.dumps}.get(content_type, str)(body.example).encode()
        answer = hook.deliver(data, path=f"{hook.path}?uuid=2f6b2a0c", content_type=content_type)
        assert answer.status_code in (200, 201)
    assert len(hook.stored()) == 1


def test_several_records_are_stored_in_one_go(hook):
    events = captured_events("asterisk/ami-cdr-events.txt")
    body = json.dumps(events).encode()
    answer = hook.deliver(body, content_type="application/json")
    assert (answer.status_code, answer.json["new"], len(answer.json["ids"])) == (201, 4, 4)
    broken = json.dumps([*events, {}]).encode()
    assert hook.deliver(broken, content_type="application/json").status_code == 422
    assert hook.deliver(body, content_type="application/json").json == answer.json | {"new": 0}


def test_times_are_those_of_the_phone_system_or_else_of_its_tenant(app, alice):
    at_home, abroad = make_hook(app, alice, time_zone=None), make_hook(app, alice, time_zone="Asia/Tokyo")
    at_home.deliver()
    abroad.deliver()
    assert sorted(call.started_at.hour for call in abroad.stored()) == [9, 18]


def test_the_same_record_of_two_phone_systems_is_two_records(app, alice, charlie):
    for owner in (alice, alice, charlie):
        assert make_hook(app, owner).deliver().status_code == 201


def test_one_delivery_twenty_times_at_once_is_one_record(hook):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: hook.deliver(), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json["ids"][0] for answer in answers}) == 1
    assert len(hook.stored()) == 1


def test_everybody_without_the_right_credentials_gets_the_same_answer(app, hook, alice, charlie):
    without = make_hook(app, alice)
    with in_database(app):
        db.session.execute(
            update(PhoneSystem)
            .where(PhoneSystem.id == UUID(without.path.split("/")[3]))
            .values(webhook_password_encrypted=None)
        )
        db.session.commit()
    identifier = hook.path.split("/")[3]
    answers = [
        hook.deliver(credentials=(hook.username, "wrong")),
        hook.deliver(credentials=("wrong", hook.password)),
        hook.deliver(credentials=("ünï", "cödé")),
        hook.deliver(credentials=None),
        hook.deliver(credentials=None, headers={"Authorization": "Bearer x"}),
        hook.deliver(credentials=None, headers={"Authorization": "Basic !"}),
        hook.deliver(path=without.path, credentials=(without.username, without.password)),
        hook.deliver(path=without.path, credentials=(without.username, "\0" * 24)),
        hook.deliver(path=make_hook(app, charlie).path),
        hook.deliver(path=f"/hooks/others/{identifier}/cdr"),
        hook.deliver(path=f"/hooks/unknown/{identifier}/cdr"),
        hook.deliver(path=f"/hooks/ACME/{identifier}/cdr"),
        hook.deliver(path=f"/hooks/a%00b/{identifier}/cdr"),
        hook.deliver(path=f"/hooks/acme/{uuid4()}/cdr"),
        hook.deliver(path=f"/hooks/acme/{UUID(int=0)}/cdr"),
        hook.deliver(path=f"/hooks/acme/{identifier}%00/cdr"),
        hook.deliver(path="/hooks/acme/not-an-id/cdr"),
        hook.deliver(b"x" * 100_000, credentials=("wrong", "wrong")),
        hook.deliver(credentials=("wrong", "wrong"), content_type="text/plain"),
    ]
    seen = {
        (answer.status_code, str(without_request_id(answer.json)), tuple(sorted(answer.headers))) for answer in answers
    }
    assert len(seen) == 1, seen
    assert answers[0].status_code == 401
    assert answers[0].headers["WWW-Authenticate"] == 'Basic realm="AudiaPro"'
    assert answers[0].content_type == "application/problem+json"
    assert hook.stored() == []


def test_everybody_without_the_right_signature_gets_the_same_answer(app, alice, hook):
    yeastar = make_hook(app, alice, vendor="yeastar")
    right = sign(YEASTAR, yeastar.password)
    other = make_hook(app, alice, vendor="yeastar", webhook_password=SECRET[::-1])

    def deliver(path=yeastar.path, signature=right, body=YEASTAR, **headers):
        headers = {name: value for name, value in {"X-Signature": signature, **headers}.items() if value is not None}
        return app.test_client().post(path, data=body, headers=headers, content_type="application/json")

    answers = [
        deliver(signature=None),
        deliver(signature=""),
        deliver(signature="cödé"),
        deliver(signature=right.lower()),
        deliver(signature=right[:-1]),
        deliver(signature=bytes.hex(b64decode(right))),
        deliver(signature=sign(YEASTAR, "")),
        deliver(signature=sign(YEASTAR, "\0" * 24)),
        deliver(signature=None, Authorization=basic("pbx", yeastar.password)),
        deliver(body=YEASTAR + b" "),
        deliver(body=b""),
        deliver(path=other.path),
        deliver(path=hook.path, signature=sign(YEASTAR, hook.password)),
        deliver(path=f"/hooks/acme/{uuid4()}/cdr", signature=sign(YEASTAR, "\0" * 24)),
        deliver(path="/hooks/unknown/x/cdr"),
    ]
    seen = {
        (answer.status_code, str(without_request_id(answer.json)), tuple(sorted(answer.headers))) for answer in answers
    }
    assert len(seen) == 1, seen
    assert answers[0].status_code == 401
    assert yeastar.stored() == []
    assert deliver().status_code == 201


def test_a_signed_body_that_is_too_large_is_not_read_to_its_end(app, alice):
    yeastar = make_hook(app, alice, vendor="yeastar")
    for path in (yeastar.path, f"/hooks/acme/{uuid4()}/cdr"):
        answer = yeastar.deliver(b"x" * 70_000, path=path, content_type="application/json")
        assert answer.status_code == 413


def test_an_unknown_phone_system_costs_a_signature_as_much(app, alice, hook, monkeypatch):
    """Counted, not timed: queries, values opened, and signatures made."""
    yeastar = make_hook(app, alice, vendor="yeastar")
    done = []
    opened, made = sealed.open, hmac.digest
    monkeypatch.setattr(sealed, "open", lambda *arguments: done.append("open") or opened(*arguments))
    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: done.append(arguments[2][:6]))
    headers = {"X-Signature": sign(YEASTAR, "wrong")}
    monkeypatch.setattr("hmac.digest", lambda *arguments: done.append("sign") or made(*arguments))
    work = []
    for path in ("/hooks/acme/x/cdr", yeastar.path, hook.path, f"/hooks/unknown/{uuid4()}/cdr", yeastar.path):
        done.clear()
        assert app.test_client().post(path, data=YEASTAR, headers=headers).status_code == 401
        work.append(sorted(done))
    assert work == [work[0]] * 5
    assert (work[0].count("open"), work[0].count("SELECT"), work[0].count("sign")) == (2, 1, 2)


def test_the_phone_systems_of_a_suspended_tenant_are_refused_until_that_is_undone(app, hook):
    with in_database(app):
        tenants.set_suspended(db.session(), "acme", True)
    assert hook.deliver().status_code == 401
    with in_database(app):
        tenants.set_suspended(db.session(), "acme", False)
    assert hook.deliver().status_code == 201


def without_request_id(body):
    return {name: value for name, value in body.items() if name != "request_id"}


def test_an_unknown_phone_system_costs_the_same_work(app, hook, monkeypatch):
    """Counted, not timed: queries, and values opened."""
    done = []
    opened = sealed.open
    monkeypatch.setattr(sealed, "open", lambda *arguments: done.append("open") or opened(*arguments))
    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: done.append(arguments[2][:6]))
    work = []
    for path in ("/hooks/acme/x/cdr", hook.path, f"/hooks/unknown/{uuid4()}/cdr", "/hooks/acme/x/cdr", hook.path):
        done.clear()
        hook.deliver(path=path, credentials=("wrong", "wrong"))
        work.append(sorted(done))
    assert work == [work[0]] * 5, "whether or not it is the first one, too"
    assert (work[0].count("open"), work[0].count("SELECT")) == (2, 1)
    assert "INSERT" not in work[0]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"src=1&src=2", FORM, 400),
        (b"x" * 64 * 1024 + b"=", FORM, 413),
        (b"x" * 2_000_000, FORM, 413),
        (b"<cdr/>", "application/xml", 415),
        (b"src=1", "", 415),
        (b"", FORM, 422),
        (b"[]", "application/json", 422),
        (captured_body("asterisk/answered.http").replace(b"duration=2", b"duration=-2"), FORM, 422),
    ],
)
def test_bad_input_is_refused_and_nothing_is_stored(hook, body, content_type, status):
    answer = hook.deliver(body, content_type=content_type)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert set(answer.json) >= {"type", "title", "status", "detail", "request_id"}
    assert hook.stored() == []


def test_what_is_wrong_with_a_delivery_is_said(hook):
    answer = hook.deliver(captured_body("asterisk/answered.http").replace(b"duration=2", b"duration=-2"))
    assert answer.json["errors"] == [{"field": "duration", "message": "is not a whole number of seconds"}]


def test_as_much_as_the_limit_is_read(hook):
    body = captured_body("asterisk/answered.http") + b"&x="
    body += b"%41" * ((64 * 1024 - len(body)) // 3)
    assert hook.deliver(body).json["errors"] == [{"field": "x", "message": "is longer than 4096 characters"}]


def test_a_chunked_body_is_limited_too(hook):
    headers = {"Authorization": basic(hook.username, hook.password), "Transfer-Encoding": "chunked"}
    environ = create_environ(hook.path, method="POST", headers=headers, content_type=FORM)
    environ |= {"wsgi.input_terminated": True, "wsgi.input": BytesIO(b"x" * 70_000)}
    environ.pop("CONTENT_LENGTH", None)
    _body, status, _headers = run_wsgi_app(hook.app, environ)
    assert status.startswith("413")


def test_the_address_takes_only_posts(hook):
    assert hook.app.test_client().get(hook.path).status_code == 405


def test_a_password_that_does_not_open_makes_the_phone_system_try_again(hook, app):
    with in_database(app):
        value = db.session.execute(text("SELECT webhook_password_encrypted FROM phone_systems")).scalar_one()
        tampered = value[:-4] + ("AAA=" if value.endswith("=") else "AAAA")
        db.session.execute(text("UPDATE phone_systems SET webhook_password_encrypted = :v"), {"v": tampered})
        db.session.commit()
    answer = hook.deliver()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_a_process_whose_keys_are_behind_makes_the_phone_system_try_again(hook, app):
    app.extensions["encryption"].keyring = Keyring(MasterKey(bytes(range(32))))
    assert hook.deliver().status_code == 503


def test_nothing_of_a_delivery_is_logged(hook, caplog):
    caplog.set_level(logging.DEBUG)
    hook.deliver()
    hook.deliver(b"src=canary-in-a-field&uniqueid=canary")
    hook.deliver(path="/hooks/canary/canary/cdr", credentials=("canary-user", "canary-password"))
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert not re.search("canary|Lovelace|442071234567", logged)
    assert hook.password not in logged


def test_refusals_are_limited_by_address_and_lock_nobody_else_out(hook):
    stranger = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    statuses = [hook.deliver(credentials=("wrong", "wrong"), **stranger).status_code for _ in range(61)]
    assert statuses == [401] * 60 + [429]
    refused = hook.deliver(**stranger)
    assert refused.status_code == 429, "no guess is answered any more, not even a right one"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    subdomain, phone_system = hook.path.removeprefix("/hooks/").removesuffix("/cdr").split("/")
    same = f"/hooks/{subdomain}/{phone_system.upper()}/cdr"
    assert hook.deliver(path=same, **stranger).status_code == 429, "an id in capitals is the same id"
    assert hook.deliver().status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_flood_at_made_up_paths_ends_before_the_database_is_asked(app, hook):
    app.extensions["rates"] |= {Limit.HOOKS: parse("3 per minute")}
    stranger = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    paths = [f"/hooks/acme/{uuid4()}/cdr" for _ in range(5)]
    assert [hook.deliver(path=path, **stranger).status_code for path in paths] == [401] * 3 + [429] * 2
    asked = []
    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    assert hook.deliver(path=f"/hooks/acme/{uuid4()}/cdr", **stranger).status_code == 429
    assert asked == []
    assert [hook.deliver().status_code for _ in range(5)] == [201] + [200] * 4, "from elsewhere, and not refused"


def test_deliveries_that_are_let_in_do_not_count_as_refusals(hook):
    assert {hook.deliver().status_code for _ in range(70)} == {201, 200}


def test_deliveries_of_one_phone_system_are_limited(hook, app, alice):
    app.extensions["rates"] |= {Limit.DELIVERIES: parse("3 per minute")}
    assert [hook.deliver().status_code for _ in range(4)] == [201, 200, 200, 429]
    assert make_hook(app, alice).deliver().status_code == 201
    assert hook.deliver(environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200


def test_a_deleted_phone_system_delivers_no_more_and_its_records_stay(hook, alice):
    hook.deliver()
    assert alice.client.delete(f"/api/phone-systems/{hook.path.split('/')[3]}").status_code == 204
    assert hook.deliver().status_code == 401
    assert [call.phone_system_id for call in hook.stored()] == [None]
