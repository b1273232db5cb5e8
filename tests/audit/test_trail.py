"""What is recorded, who sees it, and that nobody changes it."""

import json
import logging
from contextlib import suppress
from datetime import timedelta

import pytest
from limits import parse
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from app.audit import service, tally
from app.audit.models import AuditEvent
from app.database import now, uuid7
from app.extensions import db
from app.limits.limit import Limit
from app.logs import log_to_standard_error
from app.tenancy import tenant_scope
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook
from tests.conftest import PASSWORD, in_database

PBX = {"name": "Headquarters", "vendor": "asterisk", "password": "hunter2"}
LINE_BREAKS = "".join(["a\nb\rc\vd\fe", "\x1cf\x1dg\x1eh", "\x85i", "\u2028j", "\u2029k"])
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def events(client, **filters):
    answer = client.get("/api/audit-events", query_string=filters)
    assert answer.status_code == 200, answer.json
    return answer.json["items"]


def test_a_change_is_recorded_with_who_what_and_from_where(alice):
    created = alice.client.post("/api/phone-systems", json=PBX)
    url = created.headers["Location"]
    assert alice.client.patch(url, json={"password": "hunter3", "name": "HQ"}).status_code == 200
    assert alice.client.delete(url).status_code == 204
    deleted, updated, made = events(alice.client, object_id=created.json["id"])
    assert [event["action"] for event in (made, updated, deleted)] == [
        "phone_system.created",
        "phone_system.updated",
        "phone_system.deleted",
    ]
    assert updated["details"] == {"name": "HQ", "fields": ["name", "password"]}
    assert updated["actor"] == {"type": "user", "id": str(alice.user_id), "name": alice.email}
    assert (updated["outcome"], updated["address"], updated["count"]) == ("success", "127.0.0.1", 1)
    assert updated["request_id"] != deleted["request_id"]
    assert "hunter" not in json.dumps([made, updated, deleted])


@on_sqlite
def test_what_fails_is_not_recorded_as_done(alice):
    url = alice.client.post("/api/phone-systems", json=PBX).headers["Location"]
    assert alice.client.patch(url, json={"name": "HQ", "version": 7}).status_code == 409
    assert events(alice.client, action="phone_system.updated") == []


def test_signing_in_and_out_and_every_refusal_is_recorded(client, alice):
    body = {"email": alice.email, "password": PASSWORD}
    assert client.post("/api/login", json=body | {"password": "wrong"}).status_code == 401
    signed = client.post("/api/login", json=body).json
    assert client.post("/api/logout", headers={"Authorization": f"Bearer {signed['access_token']}"}).status_code == 204
    ended, started, refused = events(alice.client, since=(now() - timedelta(minutes=1)).isoformat())[:3]
    assert [event["action"] for event in (refused, started, ended)] == [
        "session.refused",
        "session.started",
        "session.ended",
    ]
    assert (refused["outcome"], refused["object_id"]) == ("refused", str(alice.user_id))
    assert (refused["actor"]["type"], refused["details"]) == ("anonymous", {"account": alice.email})
    assert (started["actor"]["name"], started["object_id"]) == (alice.email, ended["object_id"])


@on_sqlite
def test_attempts_beyond_what_an_account_allows_are_told_to_its_tenants_once_an_hour(app, client, alice):
    app.extensions["rates"] |= {Limit.SIGN_IN_FAILURES: parse("1 per hour")}
    for email in (alice.email, "unknown@acme.example", "my p@ssword"):
        answers = [client.post("/api/login", json={"email": email, "password": "x"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 429, 429]
    with app.app_context():
        tally.store_counted()
    locked, refused = events(alice.client, action="session.refused")
    assert (locked["count"], locked["object_id"]) == (2, refused["object_id"])
    assert locked["details"].items() >= {"account": alice.email, "reason": "too many attempts"}.items()
    assert events(alice.client, action="request.too_many") == []
    with in_database(app):
        nobodys = select(AuditEvent).where(AuditEvent.tenant_id.is_(None), AuditEvent.count == 2)
        assert {event.details.get("account") for event in db.session.scalars(nobodys)} == {"unknown@acme.example", None}


@on_sqlite
def test_a_sign_in_to_no_account_is_nobodys_event_and_keeps_no_password_typed_in_the_wrong_field(app, client, alice):
    for email in ("unknown@acme.example", "my p@ssword"):
        assert client.post("/api/login", json={"email": email, "password": "x"}).status_code == 401
    with in_database(app):
        refused = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.refused")).all()
    assert [(event.tenant_id, event.details) for event in refused] == [
        (None, {"account": "unknown@acme.example"}),
        (None, {}),
    ]
    assert events(alice.client, action="session.refused") == []


@on_sqlite
def test_what_the_operator_does_to_tenants_and_sessions_is_recorded_as_theirs(app, alice, charlie):
    for command in (["suspend-tenant", "acme"], ["suspend-tenant", "acme", "--undo"], ["revoke-tokens", "--all"]):
        assert app.test_cli_runner().invoke(args=command).exit_code == 0
    done = ("tenant.suspended", "tenant.readmitted", "everybody.signed_out")
    with in_database(app):
        found = db.session.scalars(select(AuditEvent).where(AuditEvent.action.in_(done)).order_by(AuditEvent.id)).all()
    assert {(event.actor_type, event.outcome, event.address) for event in found} == {("operator", "success", None)}
    assert [(event.action, event.tenant_id, event.details) for event in found] == [
        ("tenant.suspended", alice.tenant_id, {}),
        ("tenant.readmitted", alice.tenant_id, {}),
        ("everybody.signed_out", None, {"sessions": 1}),
    ]
    assert charlie.client.get("/api/me").status_code == 401


def test_refused_requests_are_recorded_once_an_hour_and_counted(app, alice, bob):
    for _ in range(3):
        assert bob.client.get("/api/phone-systems").status_code == 403
    assert alice.client.get("/api/phone-systems/00000000-0000-0000-0000-000000000000").status_code == 404
    first = events(alice.client, action="request.not_allowed")
    assert [event["count"] for event in first] == [1]
    assert first[0]["actor"]["name"] == bob.email
    assert first[0]["details"] == {"method": "GET", "route": "/api/phone-systems"}
    assert len(events(alice.client, action="request.not_found")) == 1
    with app.app_context():
        tally.store_counted()
    rest, first = events(alice.client, action="request.not_allowed")
    assert (rest["count"], rest["actor"]) == (2, first["actor"])
    assert rest["details"].keys() == {"method", "route", "first", "last"}


def test_each_use_of_a_webhook_password_is_counted_by_address_and_outcome(app, alice):
    hook = make_hook(app, alice)
    assert [hook.deliver().status_code for _ in range(4)] == [201, 200, 200, 200]
    stranger = {"REMOTE_ADDR": "203.0.113.9"}
    assert hook.deliver(credentials=("", "wrong"), environ_overrides=stranger).status_code == 401
    with app.app_context():
        tally.store_counted()
    rest, first = events(alice.client, action="secret.used")
    assert first["count"] + rest["count"] == 4
    assert first["details"].pop("changed_at")
    assert first["details"] == {"secret": "phone_systems.webhook_password", "purpose": "delivery"}
    assert first["object_id"] in hook.path
    assert first["actor"] == {"type": "phone_system", "id": first["object_id"], "name": "HQ"}
    (refused,) = events(alice.client, action="delivery.refused")
    assert (refused["address"], refused["outcome"]) == ("203.0.113.9", "refused")


@on_sqlite
def test_what_was_counted_is_stored_by_a_request_after_the_hour(app, alice, bob):
    for _ in range(3):
        bob.client.get("/api/phone-systems")
    app.extensions["audit_tally"]._begun_at -= timedelta(minutes=61)
    assert alice.client.get("/api/me").status_code == 200
    assert [event["count"] for event in events(alice.client, action="request.not_allowed")] == [2, 1]


@on_sqlite
def test_a_flood_of_refusals_takes_a_bounded_number_of_rows(app, client, monkeypatch):
    monkeypatch.setattr(tally, "MOST_KINDS", 5)
    for number in range(20):
        assert client.get("/api/me", environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"}).status_code == 401
    with in_database(app):
        assert len(db.session.scalars(select(AuditEvent)).all()) == 6
        tally.store_counted()
        assert sum(event.count for event in db.session.scalars(select(AuditEvent))) == 20


@on_sqlite
def test_no_stranger_makes_the_events_of_a_tenant_nobodys(app, client, alice, monkeypatch):
    monkeypatch.setattr(tally, "MOST_KINDS", 2)
    hook = make_hook(app, alice)
    for number in range(5):
        client.get("/api/me", environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"})
    assert [hook.deliver().status_code for _ in range(2)] == [201, 200]
    assert hook.deliver(credentials=("", "wrong")).status_code == 401
    with app.app_context():
        tally.store_counted()
    assert [event["object_id"] is not None for event in events(alice.client, action="secret.used")] == [True] * 2
    assert [event["outcome"] for event in events(alice.client, action="delivery.refused")] == ["refused"]


@on_sqlite
def test_refused_deliveries_to_made_up_paths_are_one_event_for_each_network_and_wait_for_a_minute(app, client, alice):
    hook = make_hook(app, alice)
    for number in range(3):
        hook.deliver(path=f"/hooks/made-up-{number}/x/cdr", environ_overrides={"REMOTE_ADDR": f"2001:db8::{number}"})
    hook.deliver(credentials=("", "wrong"))
    app.extensions["audit_tally"]._waiting_since -= timedelta(seconds=61)
    client.get("/api/me")
    assert events(alice.client, action="delivery.refused") == [], "a stranger's request does not store it"
    assert [event["count"] for event in events(alice.client, action="delivery.refused")] == [1]
    with in_database(app):
        found = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "delivery.refused")).all()
    assert {(event.tenant_id, event.address, event.count) for event in found} == {
        (None, "2001:db8::/64", 3),
        (alice.tenant_id, "127.0.0.1", 1),
    }
    assert "made-up" not in str([event.details for event in found])


@on_sqlite
def test_what_could_not_be_stored_is_kept_for_the_next_time_and_hinders_nothing_else(app, alice):
    missing = uuid7()
    with app.test_request_context():
        for kind in (
            tally.Kind("thing.used", "success", missing),
            tally.Kind("thing.used", "success", alice.tenant_id),
        ):
            with suppress(IntegrityError):
                tally.count(kind)
            tally.count(kind)
        tally.store_counted()
    assert [event["count"] for event in events(alice.client, action="thing.used")] == [1, 1]
    with in_database(app):
        db.session.add(Tenant(id=missing, name="Late", subdomain="late"))
        db.session.commit()
        tally.store_counted()
        kept = db.session.scalars(select(AuditEvent).where(AuditEvent.tenant_id == missing)).all()
    assert [event.count for event in kept] == [2]


def test_nobody_sees_another_tenants_events_and_members_see_none(alice, bob, charlie):
    alice.client.post("/api/phone-systems", json=PBX)
    assert events(alice.client, action="phone_system.created") != []
    assert events(charlie.client, action="phone_system.created") == []
    assert bob.client.get("/api/audit-events").status_code == 403


@on_sqlite
def test_filters_are_combined_and_a_wrong_one_is_refused(alice, bob):
    bob.client.get("/api/phone-systems")
    made = alice.client.post("/api/phone-systems", json=PBX).json["id"]
    assert len(events(alice.client, outcome="refused", actor_id=str(bob.user_id))) == 1
    assert events(alice.client, outcome="refused", actor_id=str(alice.user_id)) == []
    assert len(events(alice.client, object_id=made, until=(now() + timedelta(minutes=1)).isoformat())) == 1
    assert events(alice.client, since=(now() + timedelta(minutes=1)).isoformat()) == []
    for wrong in (
        {"outcome": "maybe"},
        {"action": "a\0b"},
        {"actor_id": "bob"},
        {"since": "yesterday"},
        {"who": "bob"},
    ):
        assert alice.client.get("/api/audit-events", query_string=wrong).status_code == 422


def test_no_event_is_changed_not_even_by_the_owner_of_the_table(app, alice):
    with in_database(app), pytest.raises(DBAPIError, match="never changed"):
        db.session.execute(update(AuditEvent).values(actor_name="somebody else"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        delete(AuditEvent.__table__),
        update(AuditEvent.__table__).values(actor_name="somebody else"),
        text("TRUNCATE audit_events"),
        insert(AuditEvent.__table__).values(
            tenant_id=None, action="x", outcome="success", actor_type="user", actor_name="", details={}
        ),
    ],
    ids=["delete", "update", "truncate", "insert for nobody"],
)
def test_a_request_may_only_add_events_of_its_tenant(app, alice, statement):
    with app.app_context(), tenant_scope(alice.tenant_id), pytest.raises(ProgrammingError, match=r"denied|violates"):
        db.session.connection().execute(statement)


@on_sqlite
def test_an_event_is_one_line_of_json_in_the_log_whatever_it_holds(app, client, alice, capfd):
    logger = logging.getLogger("app")
    before = logger.handlers, logger.level
    log_to_standard_error()
    try:
        with in_database(app):
            service.record(db.session(), "thing.named", details={"name": LINE_BREAKS}, tenant_id=alice.tenant_id)
            db.session.commit()
        answer = client.post("/api/login", json={"email": alice.email, "password": PASSWORD})
    finally:
        logger.handlers, logger.level = before
    assert answer.status_code == 200
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["audit"]["details"] for line in lines if line["event"] == "thing.named"] == [{"name": LINE_BREAKS}]
    started = next(line for line in lines if line["event"] == "session.started")
    assert started.keys() == {"timestamp", "level", "logger", "event", "request_id", "audit"}
    assert started["timestamp"].endswith("Z")
    assert started["audit"]["request_id"] == started["request_id"]
    assert started["audit"]["actor_name"] == alice.email
