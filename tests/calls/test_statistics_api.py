"""Figures over HTTP: of which days, in whose time zone, and whose calls."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from app.database import now
from app.extensions import db
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook, store_legs
from tests.conftest import in_database

BERLIN = ZoneInfo("Europe/Berlin")
SUMMARY, VOLUME, HOURS = "/api/calls/summary", "/api/calls/volume", "/api/calls/hours-of-week"
TOP, MISSED = "/api/calls/top-callers", "/api/calls/missed"


@pytest.fixture(autouse=True)
def berlin(app, alice):
    """Where Alice's tenant is."""
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="Europe/Berlin"))
        db.session.commit()


def at(text, fold=0):
    """By the clock on the wall in Berlin."""
    return {"started_at": datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)}


ANSWERED = {"disposition": "answered", "talk_seconds": 60}
MISSED_ONE = {"disposition": "no_answer"}


def asked(person, url, **query):
    answer = person.client.get(url, query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def items(person, url, *names, **query):
    return [tuple(item[name] for name in names) for item in asked(person, url, **query)["items"]]


NOVEMBER = {"first_day": "2025-11-03", "last_day": "2025-11-09"}


def test_the_summary_is_of_the_days_that_are_asked_for_and_of_as_many_before(app, hook, alice):
    store_legs(
        app,
        hook,
        alice,
        at("2025-11-03T00:00") | ANSWERED,
        at("2025-11-09T23:59") | MISSED_ONE,
        at("2025-11-10T00:00") | MISSED_ONE,
        at("2025-11-02T23:59") | ANSWERED | {"source": "7"},
        at("2025-10-27T00:00") | ANSWERED | {"source": "8"},
        at("2025-10-26T23:59") | ANSWERED,
    )
    found = asked(alice, SUMMARY, **NOVEMBER)
    assert (found["time_zone"], found["first_day"], found["last_day"]) == ("Europe/Berlin", "2025-11-03", "2025-11-09")
    assert found["present"] == {
        "since": "2025-11-02T23:00:00Z",
        "until": "2025-11-09T23:00:00Z",
        "calls": 2,
        "answered": 1,
        "missed": 1,
        "answered_share": 0.5,
        "unique_callers": 1,
        "talk_seconds": 60,
        "average_talk_seconds": 60.0,
        "inbound": 0,
        "outbound": 0,
        "internal": 2,
    }
    before = found["before"]
    assert (before["since"], before["until"]) == ("2025-10-26T23:00:00Z", "2025-11-02T23:00:00Z")
    assert (before["calls"], before["unique_callers"]) == (2, 2)


def test_without_days_they_are_the_last_seven_up_to_now(app, hook, alice):
    moment = now()
    store_legs(
        app, hook, alice, {"started_at": moment - timedelta(seconds=5)}, {"started_at": moment + timedelta(days=1)}
    )
    found = asked(alice, SUMMARY)
    assert found["present"]["calls"] == 1
    today = moment.astimezone(BERLIN).date()
    assert found["last_day"] in (today.isoformat(), (today + timedelta(days=1)).isoformat())  # it may be midnight now
    present, before = (
        datetime.fromisoformat(found[it]["until"]) - datetime.fromisoformat(found[it]["since"])
        for it in ("present", "before")
    )
    assert abs(present - before) <= timedelta(hours=1), "the same time of day, also when clocks were changed"


def test_days_that_are_still_to_come_have_no_calls(alice):
    found = asked(alice, SUMMARY, first_day="2150-01-01", last_day="2150-01-07")
    assert (found["present"]["calls"], found["before"]["calls"]) == (0, 0)
    assert asked(alice, VOLUME, first_day="2150-01-01", last_day="2150-01-07")["items"] == []


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ({"first_day": "2025-11-10", "last_day": "2025-11-09"}, "first_day", "must not be after last_day"),
        ({"first_day": "2150-01-01"}, "first_day", "must not be after last_day"),
        ({"first_day": "2024-11-08", "last_day": "2025-11-09"}, "first_day", "must not be more than 365 days before"),
        ({"first_day": "1969-12-31"}, "first_day", ""),
        ({"last_day": "2200-01-01"}, "last_day", ""),
        ({"last_day": "2025-02-30"}, "last_day", ""),
        ({"last_day": "yesterday"}, "last_day", ""),
        ({"since": "2025-11-09"}, "since", ""),
    ],
)
@pytest.mark.parametrize("url", [SUMMARY, VOLUME, HOURS, TOP, MISSED])
def test_days_that_cannot_be_counted_are_refused(alice, url, query, field, message):
    answer = alice.client.get(url, query_string=query)
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["field"] == field
    assert message in error["message"]


def test_hours_are_counted_of_no_more_than_31_days(alice):
    month = {"first_day": "2025-11-01", "last_day": "2025-12-01"}
    assert len(asked(alice, VOLUME, by="hour", **month)["items"]) == 31 * 24
    answer = alice.client.get(VOLUME, query_string={"by": "hour", "first_day": "2025-11-01", "last_day": "2025-12-02"})
    assert answer.json["errors"] == [{"field": "first_day", "message": "must not be more than 30 days before last_day"}]


def test_the_volume_has_every_day_with_its_offset(app, hook, alice):
    store_legs(
        app,
        hook,
        alice,
        at("2025-10-25T12:00") | ANSWERED,
        at("2025-10-26T02:30") | ANSWERED,
        at("2025-10-26T02:30", fold=1) | MISSED_ONE,
    )
    days = {"first_day": "2025-10-25", "last_day": "2025-10-27"}
    assert items(alice, VOLUME, "start", "calls", "answered", "missed", **days) == [
        ("2025-10-25T00:00:00+02:00", 1, 1, 0),
        ("2025-10-26T00:00:00+02:00", 2, 1, 1),
        ("2025-10-27T00:00:00+01:00", 0, 0, 0),
    ]


def test_an_hour_that_clocks_repeat_is_two_hours_and_one_that_they_skip_is_none(app, hook, alice):
    twice = [at("2025-10-26T02:30"), at("2025-10-26T02:30", fold=1), at("2025-10-26T02:59", fold=1)]
    store_legs(app, hook, alice, *twice)
    of_autumn = items(alice, VOLUME, "start", "calls", by="hour", first_day="2025-10-26", last_day="2025-10-26")
    assert len(of_autumn) == 25
    assert of_autumn[1:4] == [
        ("2025-10-26T01:00:00+02:00", 0),
        ("2025-10-26T02:00:00+02:00", 1),
        ("2025-10-26T02:00:00+01:00", 2),
    ]
    of_spring = items(alice, VOLUME, "start", by="hour", first_day="2025-03-30", last_day="2025-03-30")
    assert [start for (start,) in of_spring[1:3]] == ["2025-03-30T01:00:00+01:00", "2025-03-30T03:00:00+02:00"]
    assert len(of_spring) == 23


def test_weeks_begin_on_monday_and_have_their_days_in_the_period(app, hook, alice):
    store_legs(app, hook, alice, *(at(f"2025-11-{day:02}T12:00") for day in range(1, 15)))
    found = items(alice, VOLUME, "start", "calls", by="week", first_day="2025-11-02", last_day="2025-11-11")
    assert found == [
        ("2025-10-27T00:00:00+01:00", 1),
        ("2025-11-03T00:00:00+01:00", 7),
        ("2025-11-10T00:00:00+01:00", 2),
    ]


def test_zones_beside_the_full_hour_are_counted_right(app, hook, alice):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="Asia/Kathmandu"))
        db.session.commit()
    kathmandu = datetime(2025, 11, 9, 9, tzinfo=ZoneInfo("Asia/Kathmandu")).astimezone(UTC)
    store_legs(app, hook, alice, {"started_at": kathmandu - timedelta(seconds=1)}, {"started_at": kathmandu})
    found = items(alice, VOLUME, "start", "calls", by="hour", first_day="2025-11-09", last_day="2025-11-09")
    assert found[8:10] == [("2025-11-09T08:00:00+05:45", 1), ("2025-11-09T09:00:00+05:45", 1)]


def test_the_hours_of_the_week_add_up_all_weeks(app, hook, alice):
    for day in ("2025-11-03", "2025-11-10"):  # Mondays
        store_legs(app, hook, alice, at(f"{day}T09:10") | ANSWERED, at(f"{day}T09:50") | MISSED_ONE)
    store_legs(app, hook, alice, at("2025-11-09T23:59") | MISSED_ONE)
    days = {"first_day": "2025-11-03", "last_day": "2025-11-16"}
    found = {
        (weekday, hour): rest
        for weekday, hour, *rest in items(alice, HOURS, "weekday", "hour", "calls", "answered", "missed", **days)
    }
    assert len(found) == 7 * 24
    assert {place: counts for place, counts in found.items() if counts[0]} == {(1, 9): [4, 2, 2], (7, 23): [1, 0, 1]}


def test_top_callers_are_those_with_the_most_calls_not_legs(app, hook, alice):
    day = "2025-11-05T1"
    call = {"linked_id": "1.0", "source": "+442"}
    store_legs(
        app,
        hook,
        alice,
        *[at(f"{day}{number}:00") | {"source": "+441"} | ANSWERED for number in range(3)],
        *[call | at(f"{day}0:0{number}") | MISSED_ONE for number in range(5)],
        at(f"{day}5:00") | {"source": "+443"},
        at(f"{day}6:00") | {"source": ""},
    )
    names = ("number", "calls", "answered", "talk_seconds", "last_at")
    assert items(alice, TOP, *names, **NOVEMBER) == [
        ("+441", 3, 3, 180, "2025-11-05T11:00:00Z"),
        ("+443", 1, 0, 0, "2025-11-05T14:00:00Z"),
        ("+442", 1, 0, 0, "2025-11-05T09:00:00Z"),
    ]
    assert len(asked(alice, TOP, limit=1, **NOVEMBER)["items"]) == 1


def test_who_called_in_vain_waits_until_somebody_has_talked_with_them(app, hook, alice):
    morning, noon, later = (at(f"2025-11-05T{hour}:00") for hour in ("09", "12", "15"))
    after_the_period = at("2025-11-20T09:00")
    store_legs(
        app,
        hook,
        alice,
        morning | MISSED_ONE | {"source": "waits"},
        noon | MISSED_ONE | {"source": "waits"},
        morning | ANSWERED | {"source": "called earlier"},
        noon | MISSED_ONE | {"source": "called earlier"},
        morning | MISSED_ONE | {"source": "came through"},
        noon | ANSWERED | {"source": "came through"},
        morning | MISSED_ONE | {"source": "called back"},
        later | ANSWERED | {"source": "100", "destination": "called back"},
        morning | MISSED_ONE | {"source": "called back in vain"},
        later | MISSED_ONE | {"source": "100", "destination": "called back in vain"},
        morning | MISSED_ONE | {"source": "called back much later"},
        after_the_period | ANSWERED | {"source": "100", "destination": "called back much later"},
        morning | MISSED_ONE | {"source": ""},
    )
    found = items(alice, MISSED, "number", "missed", "first_missed_at", "last_missed_at", **NOVEMBER)
    nine, twelve = "2025-11-05T08:00:00Z", "2025-11-05T11:00:00Z"
    assert [it for it in found if it[0] != "100"] == [
        ("called earlier", 1, twelve, twelve),
        ("waits", 2, nine, twelve),
        ("called back in vain", 1, nine, nine),
    ]


def test_figures_are_of_ones_own_calls_alone(app, hook, alice, charlie):
    store_legs(app, make_hook(app, charlie), charlie, *[at("2025-11-05T09:00") | MISSED_ONE | {"source": "+44"}] * 2)
    assert asked(alice, SUMMARY, **NOVEMBER)["present"]["calls"] == 0
    assert sum(calls for (calls,) in items(alice, VOLUME, "calls", **NOVEMBER)) == 0
    assert sum(calls for (calls,) in items(alice, HOURS, "calls", **NOVEMBER)) == 0
    for url in (TOP, MISSED):
        assert asked(alice, url, **NOVEMBER)["items"] == []
        assert len(asked(charlie, url, **NOVEMBER)["items"]) == 1
