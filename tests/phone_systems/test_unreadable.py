"""What a phone system delivers and is not understood is kept for its tenant to see: the newest, bounded, encrypted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from uuid import UUID, uuid4

import pytest
from limits import parse
from sqlalchemy import func, select, text, update
from werkzeug.test import create_environ, run_wsgi_app

from app.audit.models import AuditEvent
from app.database import now
from app.encryption import sealed
from app.extensions import db
from app.phone_systems import unreadable
from app.phone_systems.models import PhoneSystem, UnreadableDelivery
from app.tenancy import tenant_scope
from tests.calls.conftest import basic, hook, make_hook
from tests.conftest import in_database
from tests.data import captured_body

__all__ = ["hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FORM = "application/x-www-form-urlencoded"
CANARY = "canary-5551234"


@pytest.fixture
def unpaced(monkeypatch):
    """As if a second went by before each delivery."""
    monkeypatch.setattr(unreadable, "PACE", parse("1000000 per second"))


def path_of(hook, delivery=""):
    return f"/api/phone-systems/{hook.phone_system_id}/unreadable-deliveries{'/' * bool(delivery)}{delivery}"


def listed(person, hook, **query):
    answer = person.client.get(path_of(hook), query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json


def newest(person, hook):
    answer = person.client.get(path_of(hook, listed(person, hook)["items"][0]["id"]))
    assert answer.status_code == 200, answer.json
    return answer.json


def lately(person, hook):
    return person.client.get(f"/api/phone-systems/{hook.phone_system_id}/health").json["last_24_hours"]


def bodies(app, hook):
    """Of what is kept of a phone system, oldest first."""
    with in_database(app):
        wanted = select(UnreadableDelivery).where(UnreadableDelivery.phone_system_id == hook.phone_system_id)
        return [row.content["body"] for row in db.session.scalars(wanted.order_by(UnreadableDelivery.id))]


def events(app, action):
    with in_database(app):
        return list(db.session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)))


def test_it_is_told_when_it_came_what_it_is_and_what_was_wrong(alice, hook):
    assert listed(alice, hook) == {"items": [], "next": None}
    body = captured_body("asterisk/answered.http").replace(b"duration=2", b"duration=-2")
    refused = hook.deliver(body)
    assert refused.status_code == 422
    (one,) = listed(alice, hook)["items"]
    assert one.keys() == {"id", "received_at", "content_type", "size", "reason"}
    assert (one["content_type"], one["size"]) == (FORM, len(body))
    assert one["reason"] == "duration is not a whole number of seconds"
    shown = newest(alice, hook)
    assert shown == one | {"errors": refused.json["errors"], "body": body.decode(), "cut": False}


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (b"{", "application/json", ("it is not in the format that its Content-Type names", 1, "{", False)),
        (b"<cdr/>\r\n", "Text/XML; x=\x01", ("it is of another content type", 8, "<cdr/>␍\n", False)),
        (b"", "", ("it is of another content type", 0, "", False)),
        (b"x" * 20_000, "text/plain", ("it is of another content type", 20_000, "x" * 16_384, True)),
        (b"y" * 70_000, FORM, ("it is larger than 64 KiB", 70_000, "y" * 16_384, True)),
        (b"y" * 2_000_000, FORM, ("it is larger than 64 KiB", 2_000_000, "y" * 16_384, True)),
    ],
)
def test_whatever_kind_of_refusal_it_is_the_beginning_is_kept(alice, hook, body, content_type, shown):
    assert hook.deliver(body, content_type=content_type).status_code in (400, 413, 415)
    found = newest(alice, hook)
    assert (found["reason"], found["size"], found["body"], found["cut"]) == shown
    assert found["content_type"] == (content_type.replace("\x01", "␁") or None)


def test_of_a_body_in_chunks_that_is_too_large_the_beginning_is_kept_and_the_size_is_not_known(alice, hook):
    headers = {"Authorization": basic(hook.username, hook.password), "Transfer-Encoding": "chunked"}
    environ = create_environ(hook.path, method="POST", headers=headers, content_type=FORM)
    environ |= {"wsgi.input_terminated": True, "wsgi.input": BytesIO(b"x" * 70_000)}
    environ.pop("CONTENT_LENGTH", None)
    _body, status, _headers = run_wsgi_app(hook.app, environ)
    assert status.startswith("413")
    found = newest(alice, hook)
    assert (found["size"], found["body"], found["cut"]) == (None, "x" * 16_384, True)


@pytest.mark.parametrize("stated", [2**31, 10**30])
def test_a_size_that_cannot_be_is_not_believed(alice, hook, stated):
    headers = {"Authorization": basic(hook.username, hook.password)}
    environ = create_environ(hook.path, method="POST", headers=headers, content_type=FORM)
    environ |= {"wsgi.input": BytesIO(b"x" * 20_000), "CONTENT_LENGTH": str(stated)}
    _body, status, _headers = run_wsgi_app(hook.app, environ)
    assert status.startswith("413")
    found = newest(alice, hook)
    assert (found["size"], found["body"], found["cut"]) == (None, "x" * 16_384, True)


def test_names_of_fields_are_delivered_too_and_shown_as_safely(alice, hook):
    hook.deliver(b"secret%E2%80%AE=" + b"x" * 5_000)
    errors = newest(alice, hook)["errors"]
    assert {"field": "secret<U+202E>", "message": "is longer than 4096 characters"} in errors
    hook.app.extensions["rate_limiter"].storage.reset()
    hook.deliver(b'{"\\ud800": []}', content_type="application/json")
    assert all("\ud800" not in error["field"] for error in newest(alice, hook)["errors"])


@pytest.mark.usefixtures("unpaced")
def test_the_newest_twenty_of_each_phone_system_are_kept(app, alice, hook):
    other = make_hook(app, alice)
    other.deliver(b"other=1")
    for number in range(23):
        assert hook.deliver(b"n=%d" % number).status_code == 422
    assert bodies(app, hook) == [f"n={number}" for number in range(3, 23)]
    assert bodies(app, other) == ["other=1"]
    page = listed(alice, hook, limit=15)
    ids = [one["id"] for one in page["items"]]
    following = listed(alice, hook, limit=15, cursor=page["next"])
    ids += [one["id"] for one in following["items"]]
    assert (len(ids), ids, following["next"]) == (20, sorted(ids, reverse=True), None)
    assert lately(alice, hook)["unreadable"] == 23


def test_of_a_flood_one_in_a_second_is_kept_and_all_are_counted(app, alice, hook, monkeypatch):
    assert parse("1 per second") == unreadable.PACE
    monkeypatch.setattr(unreadable, "PACE", parse("1 per day"))  # a second that lasts as long as this test
    for number in range(30):
        assert hook.deliver(b"n=%d" % number).status_code == 422
    assert bodies(app, hook) == ["n=0"]
    assert lately(alice, hook) == {"records": 0, "refused": 0, "unreadable": 30}


@pytest.mark.usefixtures("unpaced")
def test_many_at_once_neither_exceed_the_bound_nor_keep_good_ones_from_being_stored(app, alice, hook):
    for number in range(20):
        hook.deliver(b"n=%d" % number)

    def deliver(number):
        return hook.deliver(None if number % 4 == 0 else b"m=%d" % number).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(deliver, range(48)))
    assert sorted(statuses) == sorted([201] + [200] * 11 + [422] * 36)
    found = bodies(app, hook)
    assert len(found) == 20
    assert {body[0] for body in found} == {"m"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_good_delivery_does_not_wait_while_a_bad_one_is_kept(app, alice, hook):
    assert hook.deliver(b"first=1").status_code == 422, "which notes the first use of the password"
    with app.app_context(), tenant_scope(alice.tenant_id):
        assert unreadable._hold(db.session(), alice.tenant_id, hook.phone_system_id)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(hook.deliver).result(timeout=30).status_code == 201
        db.session.rollback()


def test_a_good_delivery_leaves_it_there_and_clearing_removes_it(app, alice, hook):
    hook.deliver(b"n=1")
    assert hook.deliver().status_code == 201
    other = make_hook(app, alice)
    other.deliver(b"n=2")
    assert len(listed(alice, hook)["items"]) == 1
    assert alice.client.delete(path_of(hook)).status_code == 204
    assert listed(alice, hook)["items"] == []
    assert alice.client.delete(path_of(hook)).status_code == 204, "there is none"
    (event,) = events(app, "delivery.cleared")
    assert (event.object_id, event.actor_name, event.details) == (hook.phone_system_id, alice.email, {"deliveries": 1})
    assert bodies(app, other) == ["n=2"]
    assert lately(alice, hook) == {"records": 1, "refused": 0, "unreadable": 1}


def test_who_reads_one_is_in_the_audit_trail_and_who_looks_at_the_list_is_not(app, alice, hook):
    hook.deliver(b"n=1")
    (one,) = listed(alice, hook)["items"]
    assert events(app, "delivery.read") == []
    assert alice.client.get(path_of(hook, one["id"])).status_code == 200
    (event,) = events(app, "delivery.read")
    assert (event.object_id, event.actor_name, event.outcome) == (hook.phone_system_id, alice.email, "success")
    assert event.details == {"delivery": one["id"]}


def test_owners_and_admins_of_the_tenant_alone_may_see_it(app, alice, bob, charlie, hook):
    hook.deliver(b"n=1")
    (one,) = listed(alice, hook)["items"]
    for path in (path_of(hook), path_of(hook, one["id"])):
        assert (bob.client.get(path).status_code, charlie.client.get(path).status_code) == (403, 404)
    assert bob.client.delete(path_of(hook)).status_code == 403
    assert charlie.client.delete(path_of(hook)).status_code == 404
    other = make_hook(app, alice)
    assert alice.client.get(path_of(other, one["id"])).status_code == 404, "another phone system's"
    assert alice.client.get(path_of(hook, uuid4())).status_code == 404
    assert alice.client.get(f"/api/phone-systems/{uuid4()}/unreadable-deliveries").status_code == 404
    assert len(bodies(app, hook)) == 1
    assert [event.actor_name for event in events(app, "delivery.read")] == []


def test_it_goes_with_its_phone_system(app, alice, hook):
    hook.deliver(b"n=1")
    assert alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}").status_code == 204
    with in_database(app):
        assert db.session.scalar(select(func.count()).select_from(UnreadableDelivery)) == 0


def test_of_a_phone_system_that_is_deleted_meanwhile_nothing_is_kept(app, alice, hook):
    delivered = unreadable.Delivered(FORM, b"n=1", 3, "it is empty", [])
    assert alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}").status_code == 204
    with app.app_context(), tenant_scope(alice.tenant_id):
        unreadable.keep(db.session(), alice.tenant_id, hook.phone_system_id, delivered)
    assert bodies(app, hook) == []


def test_what_was_delivered_is_encrypted_and_in_no_list_no_log_and_no_event(app, alice, hook, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    hook.deliver(f"{CANARY}={'x' * 5000}".encode())
    with app.app_context(), db.engine.connect() as connection, in_database(app):
        stored = connection.execute(text("SELECT * FROM unreadable_deliveries")).mappings().one()
    assert CANARY not in str(stored)
    assert stored["content_encrypted"].startswith("v1:")
    opened = []
    monkeypatch.setattr(sealed, "open", lambda *arguments: opened.append(arguments))
    assert CANARY not in str(listed(alice, hook))
    assert opened == []
    monkeypatch.undo()
    assert CANARY in newest(alice, hook)["body"]
    assert CANARY not in alice.client.get("/api/audit-events").text
    assert CANARY not in caplog.text


@on_sqlite
def test_one_that_does_not_open_is_an_error_and_no_event(app, alice, hook):
    hook.deliver(b"n=1")
    (one,) = listed(alice, hook)["items"]
    with in_database(app):
        value = db.session.execute(text("SELECT content_encrypted FROM unreadable_deliveries")).scalar_one()
        tampered = value[:-8] + ("AAAAAAA=" if value.endswith("=") else "AAAAAAAA")
        db.session.execute(text("UPDATE unreadable_deliveries SET content_encrypted = :v"), {"v": tampered})
        db.session.commit()
    assert alice.client.get(path_of(hook, one["id"])).status_code == 503
    assert events(app, "delivery.read") == []


@on_sqlite
def test_one_whose_key_was_forgotten_is_shown_without_what_was_in_it(app, alice, hook):
    hook.deliver(b"n=1")
    with in_database(app):
        db.session.execute(text("UPDATE unreadable_deliveries SET content_encrypted = NULL"))
        db.session.commit()
    found = newest(alice, hook)
    assert (found["body"], found["errors"], found["cut"]) == (None, [], False)


def test_health_counts_what_came_in_the_last_24_hours(app, alice, hook):
    hook.deliver()
    hook.deliver(b"n=1")
    hook.deliver(credentials=("", "wrong"))
    hook.deliver(credentials=("", "wrong"))
    make_hook(app, alice).deliver(b"n=1")
    assert lately(alice, hook) == {"records": 1, "refused": 2, "unreadable": 1}
    with in_database(app):
        db.session.execute(text("UPDATE calls SET received_at = :then"), {"then": now() - timedelta(hours=25)})
        db.session.commit()
    assert lately(alice, hook) == {"records": 0, "refused": 2, "unreadable": 1}


def test_events_from_before_are_not_counted(app, alice, hook):
    then = now() - timedelta(hours=25)
    event_id = UUID(int=int(then.timestamp() * 1000) << 80 | 7)
    event = {"action": "delivery.refused", "outcome": "refused", "actor_type": "anonymous", "actor_name": ""}
    with in_database(app):
        db.session.add(
            AuditEvent(
                **event,
                id=event_id,
                tenant_id=alice.tenant_id,
                occurred_at=then,
                object_id=hook.phone_system_id,
                count=5,
                details={},
            )
        )
        db.session.commit()
    assert lately(alice, hook) == {"records": 0, "refused": 0, "unreadable": 0}


@on_sqlite
def test_what_comes_from_strangers_is_not_kept(app, hook):
    assert hook.deliver(b"n=1", credentials=("", "wrong")).status_code == 401
    assert bodies(app, hook) == []


@on_sqlite
def test_of_a_kind_that_is_not_known_any_more_it_is_kept(app, alice, hook):
    with in_database(app):
        db.session.execute(update(PhoneSystem).values(vendor="another"))
        db.session.commit()
    assert hook.deliver(b"n=1").status_code == 415
    assert bodies(app, hook) == ["n=1"]
