"""Finding call records: by filters, and by the call that they are legs of."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from app.calls.service import MOST_LEGS, Filters, list_calls
from app.extensions import db
from app.pagination import PageQuery
from app.tenancy import tenant_scope
from tests.calls.conftest import NOON, make_hook, store_legs
from tests.conftest import in_database


def listed(person, **query):
    answer = person.client.get("/api/calls", query_string=query)
    assert answer.status_code == 200, answer.json
    return [item["id"] for item in answer.json["items"]]


def test_since_is_included_and_until_is_not(app, hook, alice):
    before, first, last, after = store_legs(
        app, hook, alice, *({"started_at": NOON + timedelta(seconds=seconds)} for seconds in (-1, 0, 59, 60))
    )
    assert listed(alice, since="2026-11-20T12:00:00Z", until="2026-11-20T12:01:00Z") == [last, first]
    assert listed(alice, since="2026-11-20T13:00:00+01:00", until="2026-11-20T07:01:00-05:00") == [last, first]
    assert listed(alice, until="2026-11-20T12:00:00Z") == [before]
    assert listed(alice, since="2026-11-20T12:01:00Z") == [after]


def test_a_number_is_a_piece_of_source_or_destination(app, hook, alice):
    came, went, other = store_legs(
        app, hook, alice, {"source": "+442071234567"}, {"destination": "02071234567"}, {"source": "+442079999999"}
    )
    assert listed(alice, number="2071234567") == [went, came]
    assert listed(alice, number="+4420") == [other, came]
    assert listed(alice, number="  99999  ") == [other]
    assert listed(alice, number="no such number") == []


def test_names_of_extensions_are_found_in_either_case(app, hook, alice):
    (reception,) = store_legs(app, hook, alice, {"destination": "Reception"})
    assert listed(alice, number="reCEPT") == [reception]


@pytest.mark.parametrize("sign", ["%", "_", "/", "\\", "*", "?", "["])
def test_no_sign_in_a_number_stands_for_others(app, hook, alice, sign):
    literal, _other = store_legs(app, hook, alice, {"source": f"1{sign}3"}, {"source": "123"})
    assert listed(alice, number=f"1{sign}3") == [literal]


def test_filters_are_combined_and_hold_from_one_page_to_the_next(app, alice):
    first, second = make_hook(app, alice), make_hook(app, alice)
    legs = [{"disposition": disposition, "source": source} for disposition in ("busy", "answered") for source in "12"]
    wanted = []
    for number, leg in enumerate(legs * 2):
        at = {"started_at": NOON + timedelta(minutes=number)}
        store_legs(app, first, alice, leg | at | {"record_key": f"first {number}"})
        (stored,) = store_legs(app, second, alice, leg | at | {"record_key": f"second {number}"})
        if leg == {"disposition": "answered", "source": "2"}:
            wanted.insert(0, stored)
    query = {"disposition": "answered", "number": "2", "phone_system_id": str(second.phone_system_id), "limit": 1}
    page = alice.client.get("/api/calls", query_string=query).json
    following = alice.client.get("/api/calls", query_string=query | {"cursor": page["next"]}).json
    assert [item["id"] for item in page["items"] + following["items"]] == wanted
    assert following["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-11-20T12:00:00",
        "until=2026-11-20",
        "number=",
        "number=%00",
        f"number={'1' * 256}",
        "disposition=lost",
        "phone_system_id=1",
        "direction=sideways",
        "extension=",
        "number_e164=%2B442071234567",
        "time_zone=UTC",
    ],
)
@pytest.mark.parametrize("path", ["/api/calls", "/api/calls/export"])
def test_a_filter_that_is_unknown_or_makes_no_sense_is_refused(alice, path, query):
    answer = alice.client.get(f"{path}?{query}")
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json["errors"]] == [query.partition("=")[0]]


def test_filters_find_nothing_of_another_tenant(app, hook, charlie, alice):
    store_legs(app, hook, alice, {"source": "123"})
    assert listed(charlie, number="123") == []
    assert listed(charlie, phone_system_id=str(hook.phone_system_id)) == []


def test_without_filters_the_same_statement_is_executed_again_and_again(app, hook, alice):
    """It was put together once: with filters, each request puts one together."""
    seen = {"without": set(), "with": set()}
    with app.app_context(), tenant_scope(alice.tenant_id):
        for name, filters in (("without", Filters()), ("with", Filters(number="1"))):
            for _ in range(3):

                def note(state, name=name):
                    seen[name].add(state.statement)

                event.listen(db.session, "do_orm_execute", note)
                list_calls(db.session(), alice.tenant_id, PageQuery(), filters)
                event.remove(db.session, "do_orm_execute", note)
    assert (len(seen["without"]), len(seen["with"])) == (1, 3)


def test_a_record_is_shown_with_the_other_legs_of_its_call_oldest_first(app, hook, alice, bob):
    elsewhere = make_hook(app, alice)
    late, early, middle, _other_call = store_legs(
        app,
        hook,
        alice,
        *({"linked_id": "1.0", "started_at": NOON + timedelta(seconds=seconds)} for seconds in (20, 0, 10)),
        {"linked_id": "2.0"},
    )
    store_legs(app, elsewhere, alice, {"linked_id": "1.0"})
    shown = bob.client.get(f"/api/calls/{middle}").json
    assert [leg["id"] for leg in shown.pop("other_legs")] == [early, late]
    assert shown == next(item for item in bob.client.get("/api/calls").json["items"] if item["id"] == middle)


def test_a_record_that_names_no_call_is_alone(app, hook, alice):
    alone, _also_alone = store_legs(app, hook, alice, {"linked_id": None}, {"linked_id": None})
    assert alice.client.get(f"/api/calls/{alone}").json["other_legs"] == []


def test_the_legs_of_a_deleted_phone_system_stay_together(app, hook, alice):
    one, other = store_legs(app, hook, alice, {"linked_id": "1.0"}, {"linked_id": "1.0"})
    assert alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}").status_code == 204
    shown = alice.client.get(f"/api/calls/{one}").json
    assert (shown["phone_system_id"], [leg["id"] for leg in shown["other_legs"]]) == (None, [other])


def test_of_a_call_with_very_many_legs_some_are_shown(app, hook, alice):
    first, *others = store_legs(app, hook, alice, *[{"linked_id": "1.0"}] * (MOST_LEGS + 10))
    shown = alice.client.get(f"/api/calls/{first}").json["other_legs"]
    assert [leg["id"] for leg in shown] == sorted(others)[:MOST_LEGS]


def test_an_outsider_gets_the_same_answer_as_for_an_id_that_does_not_exist(app, hook, alice, charlie, client):
    (stored,) = store_legs(app, hook, alice, {})
    answers = [charlie.client.get(f"/api/calls/{call_id}") for call_id in (stored, uuid4())]
    assert {(answer.status_code, answer.json["detail"]) for answer in answers} == {
        (404, "There is nothing here under this id.")
    }
    assert charlie.client.get("/api/calls/1").status_code == 404
    assert client.get(f"/api/calls/{stored}").status_code == 401


def test_an_index_finds_the_legs_of_a_call(app, hook, alice):
    store_legs(app, hook, alice, *({} for _ in range(2000)))
    (asked,) = store_legs(app, hook, alice, {"linked_id": "1.0"})
    plans = []
    with in_database(app):
        postgres = db.engine.dialect.name == "postgresql"

        def explain(connection, cursor, statement, parameters, *_):
            if "linked_id = " in statement and not statement.startswith("EXPLAIN"):
                asked_for = f"EXPLAIN {'' if postgres else 'QUERY PLAN '}{statement}"
                plans.append(str(connection.exec_driver_sql(asked_for, parameters).all()))

        if postgres:
            db.session.execute(text("ANALYZE calls"))
            db.session.commit()
        event.listen(db.engine, "before_cursor_execute", explain)
    assert alice.client.get(f"/api/calls/{asked}").status_code == 200
    (plan,) = plans
    assert "ix_calls_tenant_id_linked_id_started_at_id" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
