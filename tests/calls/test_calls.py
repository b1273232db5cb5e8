"""``GET /api/calls``, and the service behind it and the hook."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.calls.models import Call
from app.extensions import db
from tests.calls.conftest import NOON, RECORD, make_hook, store
from tests.conftest import in_database


def records(count):
    return [replace(RECORD, record_key=str(n), started_at=NOON + timedelta(seconds=n // 2)) for n in range(count)]


def test_calls_are_listed_newest_first_in_pages(app, hook, alice):
    stored = store(app, hook, records(7), alice)
    seen, cursor = [], None
    while True:
        page = alice.client.get("/api/calls", query_string={"limit": 3} | ({"cursor": cursor} if cursor else {})).json
        seen += page["items"]
        if (cursor := page["next"]) is None:
            break
    assert sorted(item["id"] for item in seen) == sorted(map(str, stored.ids))
    order = [(item["started_at"], item["id"]) for item in seen]
    assert order == sorted(order, reverse=True)


def test_a_call_is_shown_with_times_in_utc(hook, alice):
    hook.deliver()
    (item,) = alice.client.get("/api/calls").json["items"]
    assert item.pop("received_at").endswith("Z")
    assert UUID(item.pop("id"))
    assert item.pop("details")["channel"] == "Local/100@test-00000000;2"
    assert item == {
        "phone_system_id": hook.path.split("/")[3],
        "linked_id": "1795199530.0",
        "source": "+442071234567",
        "destination": "100",
        "source_e164": "+442071234567",
        "destination_e164": None,
        "direction": "inbound",
        "extension": "100",
        "caller_name": "Ada Lovelace",
        "started_at": "2026-11-20T17:32:10Z",
        "answered_at": "2026-11-20T17:32:10Z",
        "ended_at": "2026-11-20T17:32:12Z",
        "duration_seconds": 2,
        "talk_seconds": 2,
        "disposition": "answered",
        "demonstration": False,
    }


def test_a_member_may_read_calls_and_an_outsider_sees_none_of_them(hook, bob, charlie, client):
    hook.deliver()
    assert len(bob.client.get("/api/calls").json["items"]) == 1
    assert charlie.client.get("/api/calls").json == {"items": [], "next": None}
    assert client.get("/api/calls").status_code == 401


def cursor(*values):
    return "cursor=" + urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "forged",
    [
        cursor("2026-11-20T12:00:00", str(UUID(int=1))),
        cursor("0001-01-01T00:00:00+14:00", str(UUID(int=1))),
        cursor("2026-11-20T12:00:00Z"),
        cursor(1, 2),
        cursor("2026-11-20T12:00:00Z", "1"),
        "cursor=" + "W10" * 3000,
    ],
)
def test_a_forged_cursor_is_refused(alice, forged):
    assert alice.client.get(f"/api/calls?{forged}").status_code == 422


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "unknown=1"])
def test_a_bad_query_is_refused(alice, query):
    assert alice.client.get(f"/api/calls?{query}").status_code == 422


def test_of_several_records_the_new_ones_are_stored(app, hook, alice):
    first = store(app, hook, records(2), alice)
    more = store(app, hook, records(3)[::-1] + records(1), alice)
    assert (first.new, more.new) == (2, 1)
    assert more.ids[1:] == [*first.ids[::-1], first.ids[0]]


def test_many_records_are_stored_at_once(app, hook, alice):
    assert store(app, hook, records(2500), alice).new == 2500
    assert store(app, hook, records(2500), alice).new == 0


def test_a_repeat_changes_nothing(app, hook, alice):
    store(app, hook, [RECORD], alice)
    store(app, hook, [replace(RECORD, source="other")], alice)
    with in_database(app):
        assert db.session.scalars(select(Call.source)).all() == ["100"]


def test_the_database_refuses_a_record_of_another_tenants_phone_system(app, hook, alice, charlie):
    with pytest.raises(IntegrityError):
        store(app, hook, [RECORD], charlie)
    assert make_hook(app, charlie).stored() == []
