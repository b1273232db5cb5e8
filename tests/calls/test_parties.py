"""Directions, extensions and numbers in E.164: of what is delivered, of what is stored already, and in filters."""

import csv
import io

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from app.calls import parties
from app.calls.models import Call
from app.extensions import db
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook, store_legs
from tests.conftest import in_database

LONDON = "+442071234567"
DESCRIBED = ("direction", "extension", "source_e164", "destination_e164")


def live_in(app, person, country):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == person.tenant_id).values(country=country))
        db.session.commit()


def forget_parties(app):
    """As the release before stores calls."""
    with in_database(app):
        db.session.execute(update(Call).values(dict.fromkeys(DESCRIBED)))
        db.session.commit()


def described(hook):
    """The columns of all records, by source."""
    return {call.source: tuple(getattr(call, name) for name in DESCRIBED) for call in hook.stored()}


def describe_again(app, *options):
    result = app.test_cli_runner().invoke(args=["calls", "describe-again", *options])
    return result.exit_code, result.output


def listed(person, **query):
    answer = person.client.get("/api/calls", query_string=query)
    assert answer.status_code == 200, answer.json
    return [item["id"] for item in answer.json["items"]]


def test_a_delivery_is_described_by_the_country_of_its_tenant(app, hook, alice):
    live_in(app, alice, "GB")
    form = "uniqueid=1&start=2026-11-20 18:32:10&duration=1&billsec=0&disposition=BUSY&src=020 7123 4567&dst=100"
    assert hook.deliver(form.encode()).status_code == 201
    assert described(hook) == {"020 7123 4567": ("inbound", "100", LONDON, None)}


def test_what_a_parser_says_counts_and_numbers_fill_the_rest(app, hook, alice):
    live_in(app, alice, "GB")
    store_legs(
        app,
        hook,
        alice,
        {"source": "100", "destination": "02079460018"},
        {"source": "101", "destination": "102", "direction": "outbound"},
        {"source": "103", "destination": "104", "direction": "inbound", "extension": "7"},
    )
    assert described(hook) == {
        "100": ("outbound", "100", None, "+442079460018"),
        "101": ("outbound", "101", None, None),
        "103": ("inbound", "7", None, None),
    }


def test_what_was_stored_before_is_described_by_what_was_delivered(app, hook, alice, monkeypatch):
    monkeypatch.setattr(parties, "BATCH_ROWS", 2)
    monkeypatch.setattr(parties, "_BATCH", parties._BATCH.limit(2))
    store_legs(
        app,
        hook,
        alice,
        {"source": LONDON, "destination": "600", "details": {"dstchannel": "PJSIP/101-00000002"}},
        {"source": "02071234567", "destination": "100"},
        {"source": "100", "destination": "s", "details": {}},
    )
    forget_parties(app)
    assert [item["direction"] for item in alice.client.get("/api/calls").json["items"]] == ["unknown"] * 3
    assert describe_again(app) == (0, "3 call records read, 3 of them changed.\n")
    assert described(hook) == {
        LONDON: ("inbound", "101", LONDON, None),
        "02071234567": ("inbound", "100", None, None),
        "100": ("unknown", "100", None, None),
    }
    assert describe_again(app) == (0, "3 call records read, 0 of them changed.\n")


def test_numbers_follow_the_country_and_directions_stay(app, hook, alice, charlie):
    elsewhere = make_hook(app, charlie)
    store_legs(app, hook, alice, {"source": "0301234567", "destination": "100", "direction": "internal"})
    store_legs(app, elsewhere, charlie, {"source": "0301234567", "destination": "100"})
    live_in(app, alice, "DE")
    live_in(app, charlie, "DE")
    assert describe_again(app, "--tenant", "acme") == (0, "1 call records read, 1 of them changed.\n")
    with in_database(app):
        found = {call.tenant_id: (call.direction, call.source_e164) for call in db.session.scalars(select(Call))}
    assert found == {alice.tenant_id: ("internal", "+49301234567"), charlie.tenant_id: ("inbound", None)}
    live_in(app, alice, None)
    assert describe_again(app) == (0, "2 call records read, 2 of them changed.\n")
    assert describe_again(app, "--tenant", "nobody") == (1, "Error: There is no tenant with this subdomain.\n")


def test_a_number_is_found_in_whichever_spelling_it_was_stored_and_is_typed(app, hook, alice):
    live_in(app, alice, "GB")
    spellings = "+442071234567", "02071234567", "0044 20 7123 4567"
    stored = store_legs(app, hook, alice, *({"source": spelling} for spelling in spellings[:2]))
    stored += store_legs(app, hook, alice, {"source": "100", "destination": spellings[2]}, {"source": "02079460018"})[
        :1
    ]
    for typed in (*spellings, "(020) 7123-4567", "+44 (0)20 7123 4567"):
        assert sorted(listed(alice, number=typed)) == sorted(stored), typed
    assert listed(alice, number="7123 4567") == stored[2:]  # a part is looked for as it is
    exported = alice.client.get("/api/calls/export", query_string={"number": "020 7123 4567"}).text
    lines = csv.DictReader(io.StringIO(exported[1:], newline=""))
    assert {line["source_e164"] or line["destination_e164"] for line in lines} == {f"'{LONDON}"}


def test_directions_and_extensions_are_filters(app, hook, alice):
    came, went, within, other = store_legs(
        app,
        hook,
        alice,
        {"source": LONDON, "destination": "100"},
        {"source": "100", "destination": LONDON},
        {"source": "101", "destination": "100"},
        {"source": "", "destination": "1000"},
    )
    assert listed(alice, direction="inbound") == [came]
    assert listed(alice, direction="outbound") == [went]
    assert listed(alice, direction="internal") == [within]
    assert listed(alice, direction="unknown") == [other]
    assert listed(alice, extension="100") == [within, went, came]
    assert listed(alice, extension="100", direction="outbound") == [went]
    assert listed(alice, extension="10") == []
    forget_parties(app)
    assert listed(alice, direction="unknown") == [other, within, went, came]


@pytest.mark.parametrize("country", ["de", "UK", "DEU", "EU", "", 49])
def test_a_country_is_two_letters_of_one_that_has_numbers(alice, country):
    answer = alice.client.patch("/api/tenant", json={"country": country})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["country"]
    assert alice.client.get("/api/tenant").json["country"] is None


def test_a_country_is_set_and_taken_away(alice, bob):
    assert alice.client.patch("/api/tenant", json={"country": "GB"}).json["country"] == "GB"
    assert bob.client.get("/api/tenant").json["country"] == "GB"
    assert alice.client.patch("/api/tenant", json={"country": None}).json["country"] is None


def test_an_index_finds_the_calls_of_an_extension(app, hook, alice):
    store_legs(app, hook, alice, *({} for _ in range(2000)), {"destination": "7777"})
    plans = []
    with in_database(app):
        postgres = db.engine.dialect.name == "postgresql"

        def explain(connection, cursor, statement, parameters, *_):
            if "extension = " in statement and not statement.startswith("EXPLAIN"):
                asked_for = f"EXPLAIN {'' if postgres else 'QUERY PLAN '}{statement}"
                plans.append(str(connection.exec_driver_sql(asked_for, parameters).all()))

        if postgres:
            db.session.execute(text("ANALYZE calls"))
            db.session.commit()
        event.listen(db.engine, "before_cursor_execute", explain)
    assert len(listed(alice, extension="7777")) == 1
    (plan,) = plans
    assert "ix_calls_tenant_id_extension_started_at_id" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_the_migration_keeps_what_is_stored_and_can_be_undone(app, hook, alice):
    store_legs(app, hook, alice, {"source": LONDON, "destination": "100"})
    with in_database(app):
        migrations = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision=migrations.get_revision("0017").down_revision)
            assert {column["name"] for column in inspect(db.engine).get_columns("calls")}.isdisjoint(DESCRIBED)
        finally:
            flask_migrate.upgrade()
        with pytest.raises(IntegrityError), db.engine.begin() as connection:
            connection.execute(text("UPDATE calls SET direction = 'sideways'"))
    assert described(hook) == {LONDON: (None, None, None, None)}
    assert describe_again(app) == (0, "1 call records read, 1 of them changed.\n")
    assert described(hook) == {LONDON: ("inbound", "100", LONDON, None)}
