"""A tenant's name and time zone: who sees them, who changes them, and what that means."""

from datetime import UTC, datetime
from functools import partial

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text, update

from app.extensions import db
from app.identity.models import Membership
from app.tenants import service
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook
from tests.conftest import in_database
from tests.data import captured_body
from tests.test_access import client_with_key
from tests.test_versions import all_at_once

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
URL = "/api/tenant"
BERLIN = {"time_zone": "Europe/Berlin"}


def told(person):
    """What the trail says of changes of the tenant, the newest first."""
    events = person.client.get("/api/audit-events", query_string={"action": "tenant.changed"}).json["items"]
    return [(event["actor"]["name"], event["object_id"], event["details"]) for event in events]


def test_an_owner_changes_name_and_zone_and_the_trail_says_what_they_were(app, alice, charlie):
    before = alice.client.get(URL).json
    assert before.keys() == {
        "id",
        "name",
        "subdomain",
        "time_zone",
        "country",
        "call_retention_days",
        "version",
        "created_at",
        "updated_at",
    }
    assert before.items() >= {"name": "Acme", "subdomain": "acme", "time_zone": "UTC", "version": 1}.items()
    answer = alice.client.patch(URL, json={"name": "  Acme Group ", **BERLIN, "version": 1})
    assert answer.status_code == 200
    assert answer.json.items() >= {"name": "Acme Group", "subdomain": "acme", "version": 2, **BERLIN}.items()
    assert answer.json["updated_at"] > before["updated_at"]
    assert alice.client.get(URL).json == answer.json
    assert alice.client.get("/api/me").json["tenant"].items() >= {"name": "Acme Group", **BERLIN}.items()
    assert alice.client.patch(URL, json={"time_zone": "Asia/Tokyo"}).json["name"] == "Acme Group"
    by = (alice.email, str(alice.tenant_id))
    assert told(alice) == [
        (*by, {"time_zone": "Asia/Tokyo", "previous_time_zone": "Europe/Berlin"}),
        (
            *by,
            {"name": "Acme Group", "previous_name": "Acme", "time_zone": "Europe/Berlin", "previous_time_zone": "UTC"},
        ),
    ]
    assert charlie.client.get(URL).json.items() >= {"name": "Others", "time_zone": "UTC", "version": 1}.items()
    assert told(charlie) == []


@on_sqlite
def test_every_member_sees_it_and_owners_admins_and_their_keys_change_it(app, alice, bob):
    seen = alice.client.get(URL).json
    readers, keepers = client_with_keys(app, alice)
    for client in (bob.client, readers):
        assert client.get(URL).json == seen
        refused = client.patch(URL, json={"name": "Mine"})
        assert (refused.status_code, refused.json["detail"]) == (
            403,
            "Only owners and admins of the organisation may do this.",
        )
    assert alice.client.get(URL).json == seen
    assert keepers.patch(URL, json={"name": "By a key"}).json["name"] == "By a key"
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role="admin"))
        db.session.commit()
    assert bob.client.patch(URL, json={"name": "By an admin"}).json["name"] == "By an admin"
    assert [who for who, _, _ in told(alice)] == [bob.email, "Wallboard"]


def client_with_keys(app, alice):
    """With a key of the role member, and with one of the role admin."""
    with in_database(app):
        return [client_with_key(app, alice, role) for role in ("member", "admin")]


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "Acme\nLtd"}, "name"),
        ({"name": 7}, "name"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": None}, "time_zone"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "europe/berlin"}, "time_zone"),
        ({"call_retention_days": 6}, "call_retention_days"),
        ({"call_retention_days": 3651}, "call_retention_days"),
        ({"call_retention_days": -30}, "call_retention_days"),
        ({"call_retention_days": 0}, "call_retention_days"),
        ({"call_retention_days": 30.5}, "call_retention_days"),
        ({"call_retention_days": ""}, "call_retention_days"),
        ({"call_retention_days": "30 days"}, "call_retention_days"),
        ({"call_retention_days": True}, "call_retention_days"),
        ({"call_retention_days": 10**30}, "call_retention_days"),
        ({"subdomain": "other"}, "subdomain"),
        ({"suspended_at": None}, "suspended_at"),
        ({"version": 0}, "version"),
    ],
)
def test_what_signing_up_would_refuse_is_refused_and_so_is_whatever_stays(alice, changes, field):
    before = alice.client.get(URL).json
    answer = alice.client.patch(URL, json={"name": "Other", **BERLIN} | changes)
    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (422, [field])
    assert alice.client.get(URL).json == before
    assert told(alice) == []


def test_how_long_calls_are_kept_is_for_owners_in_person(app, alice, bob):
    answer = alice.client.patch(URL, json={"call_retention_days": 365})
    assert (answer.status_code, answer.json["call_retention_days"], answer.json["version"]) == (200, 365, 2)
    _, keepers = client_with_keys(app, alice)
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role="admin"))
        db.session.commit()
    for client in (bob.client, keepers):
        for days in (7, 365, None):
            refused = client.patch(URL, json={"name": "Mine", "call_retention_days": days})
            assert (refused.status_code, refused.json["detail"]) == (
                403,
                "Only owners of the organisation may do this.",
            )
    assert bob.client.get(URL).json == answer.json
    assert alice.client.patch(URL, json={"call_retention_days": None}).json["call_retention_days"] is None
    assert [details for _, _, details in told(alice)] == [
        {"call_retention_days": None, "previous_call_retention_days": 365},
        {"call_retention_days": 365, "previous_call_retention_days": None},
    ]


def test_what_changes_nothing_makes_no_new_version_and_is_not_recorded(alice):
    before = alice.client.get(URL).json
    for nothing in ({}, {"version": 1}, {"name": "Acme"}, {"name": "Acme", "time_zone": "UTC", "version": 1}):
        answer = alice.client.patch(URL, json=nothing)
        assert (answer.status_code, answer.json) == (200, before)
    assert told(alice) == []
    alice.client.patch(URL, json={"name": "Acme", **BERLIN})
    assert [details for _, _, details in told(alice)] == [{**BERLIN, "previous_time_zone": "UTC"}]


def test_an_outdated_version_is_told_and_nothing_of_it_is_stored(alice):
    alice.client.patch(URL, json={"name": "First", "version": 1})
    for nothing in ({"name": "Second"}, {}):
        answer = alice.client.patch(URL, json={**nothing, "version": 1})
        assert (answer.status_code, "read it again" in answer.json["detail"]) == (409, True)
    assert alice.client.get(URL).json["name"] == "First"
    assert len(told(alice)) == 1
    assert alice.client.patch(URL, json={"name": "Second"}).json["version"] == 3


def test_of_two_changes_at_once_one_wins_and_the_other_is_told(alice):
    for version in range(1, 4):
        changes = [{"name": f"{name} {version}", "version": version} for name in ("One", "Two")]
        answers = all_at_once(*(partial(alice.client.patch, URL, json=change) for change in changes))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (winner,) = [change for change, answer in zip(changes, answers, strict=True) if answer.status_code == 200]
        assert alice.client.get(URL).json.items() >= {"name": winner["name"], "version": version + 1}.items()


def test_a_suspension_after_a_change_is_one_too(app, alice):
    alice.client.patch(URL, json={"name": "First"})
    with in_database(app):
        service.set_suspended(db.session(), "acme", suspended=True)
        found = db.session.execute(select(Tenant.name, Tenant.version).where(Tenant.suspended_at.is_not(None))).all()
    assert found == [("First", 3)]
    assert alice.client.patch(URL, json={"name": "Second"}).status_code == 401


def test_the_zone_counts_for_what_is_delivered_from_then_on_and_stored_records_stay(app, alice):
    hook, abroad = make_hook(app, alice, time_zone=None), make_hook(app, alice, time_zone="Asia/Tokyo")
    body = captured_body("asterisk/answered.http")  # at 18:32
    hook.deliver(body)
    alice.client.patch(URL, json=BERLIN)
    assert hook.deliver(body).json["new"] == 0
    hook.deliver(body.replace(b"1795199530.1", b"1795199530.7"))
    abroad.deliver(body)
    began = {call.started_at.replace(second=0) for call in hook.stored()}
    assert began == {datetime(2026, 11, 20, hour, 32, tzinfo=UTC) for hour in (18, 17, 9)}
    lines = alice.client.get("/api/calls/export").text
    assert "2026-11-20T19:32:10+01:00" in lines
    assert "2026-11-20T18:32:10+01:00" in lines


def test_the_migration_gives_tenants_the_first_version_and_can_be_undone(app, alice):
    with in_database(app):
        migrations = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision=migrations.get_revision("0014").down_revision)
            assert "version" not in {column["name"] for column in inspect(db.engine).get_columns("tenants")}
        finally:
            flask_migrate.upgrade()
        with db.engine.begin() as connection:  # as a process of the release before would
            columns = "name, time_zone, created_at, updated_at"
            insert = f"INSERT INTO tenants (id, subdomain, {columns}) SELECT :id, 'new', {columns} FROM tenants LIMIT 1"
            connection.execute(text(insert), {"id": "0" * 32})
            assert connection.scalars(select(Tenant.version)).all() == [1, 1, 1]
    assert alice.client.patch(URL, json=BERLIN).json["version"] == 2
