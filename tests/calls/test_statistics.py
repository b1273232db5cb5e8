"""Figures about calls: what is counted, on which day, and against what it is held."""

import random
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event

from app.calls.period import Period
from app.calls.service import store_records
from app.calls.statistics import Day, Figures, Overview, overview
from app.demonstration.generated import generated_calls
from app.extensions import db
from app.tenancy import ScopeError, tenant_scope
from tests.calls.conftest import NOON, make_hook, store_legs
from tests.conftest import in_database

UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
METRICS = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


@pytest.fixture
def figures(app, alice):
    """The overview of Alice's tenant."""

    def ask(until=NOON, days=1, time_zone=UTC_ZONE):
        with app.app_context(), tenant_scope(alice.tenant_id):
            return overview(db.session(), alice.tenant_id, Period.last(time_zone, days, until))

    return ask


def ago(**how_long):
    return {"started_at": NOON - timedelta(**how_long)}


def local(text, fold=0):
    """A time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def at(text, fold=0):
    return {"started_at": local(text, fold).astimezone(UTC)}


def test_without_calls_there_are_no_shares_and_no_averages(figures):
    found = figures(days=2)
    assert found.present == Figures(NOON - timedelta(days=1, hours=12), NOON, 0, 0, 0, 0)
    assert found.before == Figures(NOON - timedelta(days=3, hours=12), NOON - timedelta(days=2), 0, 0, 0, 0)
    assert (found.present.missed, found.present.answered_share, found.present.average_talk_seconds) == (0, None, None)
    assert found.days == [Day(date(2026, 11, 19), 0, 0), Day(date(2026, 11, 20), 0, 0)]


def test_every_call_that_was_not_answered_was_missed(app, hook, alice, figures):
    dispositions = ("answered", "answered", "no_answer", "busy", "failed", "voicemail", "other", "busy")
    store_legs(app, hook, alice, *({"disposition": it, "talk_seconds": 30} | ago(hours=1) for it in dispositions))
    present = figures().present
    assert (present.calls, present.answered, present.missed, present.answered_share) == (8, 2, 6, 0.25)
    assert present.talk_seconds == 60, "of those to the voicemail it does not count"
    assert figures().days == [Day(date(2026, 11, 20), 2, 6)]


def test_a_call_is_counted_once_however_many_legs_it_has(app, hook, alice, figures):
    """One that rang here and there, was answered there, and handed on."""
    call = {"linked_id": "1.0"}
    store_legs(
        app,
        hook,
        alice,
        call | ago(minutes=30) | {"source": "+44207", "disposition": "no_answer"},
        call | ago(minutes=29) | {"source": "+44207", "disposition": "answered", "talk_seconds": 100},
        call | ago(minutes=28) | {"source": "101", "disposition": "answered", "talk_seconds": 40},
        call | ago(minutes=27) | {"source": "102", "disposition": "voicemail", "talk_seconds": 500},
    )
    present = figures().present
    assert (present.calls, present.answered, present.unique_callers, present.talk_seconds) == (1, 1, 1, 100)


def test_the_same_caller_counts_once_in_a_period_and_the_earliest_leg_says_who_it_is(app, hook, alice, figures):
    store_legs(
        app,
        hook,
        alice,
        ago(hours=2) | {"source": "1"},
        ago(days=1) | {"source": "1"},
        ago(days=1) | {"source": "2", "linked_id": "1.0"},
        ago(hours=23) | {"source": "3", "linked_id": "1.0"},
        ago(days=2, hours=1) | {"source": "1"},
    )
    found = figures(days=2)
    assert (found.present.calls, found.present.unique_callers) == (3, 2)
    assert (found.before.calls, found.before.unique_callers) == (1, 1)


def test_legs_are_of_one_call_at_the_same_phone_system_alone(app, alice, figures):
    for _ in range(2):
        store_legs(app, make_hook(app, alice), alice, *[{"linked_id": "1.0"} | ago(hours=1)] * 2)
    assert figures().present.calls == 2


def test_records_that_name_no_call_are_a_call_each(app, hook, alice, figures):
    store_legs(app, hook, alice, *[{"linked_id": None} | ago(hours=1)] * 3)
    assert figures().present.calls == 3


def test_deleting_a_phone_system_changes_no_figure(app, hook, alice, figures):
    store_legs(app, hook, alice, *[{"linked_id": "1.0"} | ago(hours=1)] * 2, {"linked_id": None} | ago(hours=1))
    before = figures()
    assert alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}").status_code == 204
    assert figures() == before
    assert before.present.calls == 2


def test_a_call_belongs_to_the_day_on_which_its_earliest_leg_began(app, hook, alice, figures):
    """However far the others reach: over midnight, over the beginning of a period, for days."""
    call = {"linked_id": "1.0", "disposition": "answered", "talk_seconds": 9}
    store_legs(
        app,
        hook,
        alice,
        call | at("2026-11-19T23:59:59"),
        call | at("2026-11-20T00:00:01"),
        {"linked_id": "2.0"} | at("2026-11-16T23:59:59"),
        {"linked_id": "2.0"} | at("2026-11-17T00:00:01"),
        {"linked_id": "3.0", "disposition": "busy"} | at("2026-11-20T11:00:00"),
        {"linked_id": "4.0", "disposition": "answered"} | at("2026-11-20T11:00:00"),
        {"linked_id": "4.0", "disposition": "busy"} | at("2026-11-10T11:00:00"),
    )
    found = figures(local("2026-11-20T12:00"), days=2, time_zone=BERLIN)
    assert found.days == [Day(date(2026, 11, 19), 1, 0), Day(date(2026, 11, 20), 0, 1)]
    assert figures(local("2026-11-20T12:00"), days=1, time_zone=BERLIN).before.calls == 0
    assert found.before.calls == 0, "it began before the period before"


def test_the_period_before_ends_at_the_same_time_of_its_last_day(app, hook, alice, figures):
    moments = ["19T00:00:00", "19T09:59:59", "19T10:00:00", "19T23:59:59", "20T00:00:00", "20T09:59:59", "20T10:00:00"]
    store_legs(app, hook, alice, *(at(f"2026-11-{moment}") for moment in moments))
    found = figures(local("2026-11-20T10:00"), time_zone=BERLIN)
    assert (found.present.calls, found.before.calls) == (2, 2)
    assert found.before.until - found.before.since == found.present.until - found.present.since


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-20", 24)])
def test_a_day_is_as_long_as_its_clocks_say(app, hook, alice, figures, day, hours):
    begins = local(f"{day}T00:00").astimezone(UTC)
    quarters = [begins + timedelta(minutes=15 * number) for number in range(-8, 4 * 25 + 8)]
    store_legs(app, hook, alice, *({"started_at": moment} for moment in quarters))
    found = figures(begins + timedelta(days=2), days=4, time_zone=BERLIN)
    assert {it.date.isoformat(): it.missed for it in found.days}[day] == 4 * hours
    assert sum(it.missed for it in found.days) == found.present.calls == len(quarters)


@pytest.mark.parametrize(
    ("until", "fold", "compared_hours"),
    [
        ("2026-03-29T12:00", 0, 12),  # 11 hours of today
        ("2026-03-30T12:00", 0, 11),
        ("2026-10-25T12:00", 0, 12),  # 13 hours of today
        ("2026-10-26T12:00", 0, 13),
        ("2026-03-30T02:30", 0, 2.5),  # a time that clocks jumped over the day before
        ("2026-10-25T02:30", 1, 2.5),  # the second time that it is half past two
        ("2026-10-26T02:30", 0, 2.5),  # there was another half past two afterwards
    ],
)
def test_the_time_of_day_is_the_same_when_clocks_change(figures, until, fold, compared_hours):
    found = figures(local(until, fold), time_zone=BERLIN)
    assert (found.before.until - found.before.since) / timedelta(hours=1) == compared_hours
    assert found.before.until.astimezone(BERLIN).date() == local(until).date() - timedelta(days=1)


def test_a_day_without_a_midnight_begins_when_clocks_jump_over_it(app, hook, alice, figures):
    beirut = ZoneInfo("Asia/Beirut")
    jump = datetime(2026, 3, 28, 22, tzinfo=UTC)  # from 00:00 to 01:00
    store_legs(app, hook, alice, {"started_at": jump - timedelta(seconds=1)}, {"started_at": jump})
    found = figures(jump + timedelta(hours=6), days=2, time_zone=beirut)
    assert found.days == [Day(date(2026, 3, 28), 0, 1), Day(date(2026, 3, 29), 0, 1)]
    assert found.present.calls == 2


def test_a_day_with_two_midnights_begins_at_the_first(app, hook, alice, figures):
    havana = ZoneInfo("America/Havana")
    first = datetime(2026, 11, 1, 4, tzinfo=UTC)  # at 01:00 clocks are put back to 00:00
    store_legs(app, hook, alice, *({"started_at": first + timedelta(minutes=30 * number)} for number in range(-1, 4)))
    found = figures(first + timedelta(hours=6), days=2, time_zone=havana)
    assert found.days == [Day(date(2026, 10, 31), 0, 1), Day(date(2026, 11, 1), 0, 4)]


def test_what_is_compared_never_reaches_into_the_present_period(app, hook, alice, figures):
    """Samoa had no 30 December 2011: yesterday's time of day is one of today."""
    apia = ZoneInfo("Pacific/Apia")
    until = datetime(2011, 12, 31, 15, tzinfo=apia)
    store_legs(app, hook, alice, {"started_at": until.astimezone(UTC) - timedelta(hours=1)})
    found = figures(until, time_zone=apia)
    assert (found.present.calls, found.before.calls) == (1, 0)
    assert found.before.until == found.present.since


def test_what_was_made_up_for_a_demonstration_counts(app, hook, alice, figures):
    made_up = generated_calls(NOON, UTC_ZONE)
    with in_database(app):
        store_records(db.session(), alice.tenant_id, hook.phone_system_id, made_up, demonstration=True)
    assert figures(days=29).present.calls == len(made_up)


def test_nothing_of_another_tenant_is_counted(app, alice, charlie, figures):
    store_legs(app, make_hook(app, charlie), charlie, ago(hours=1))
    assert figures().present.calls == 0
    with app.app_context(), pytest.raises(ScopeError):
        overview(db.session(), alice.tenant_id, Period.last(UTC_ZONE, 1, NOON))
    with app.app_context(), tenant_scope(alice.tenant_id):
        assert overview(db.session(), charlie.tenant_id, Period.last(UTC_ZONE, 1, NOON)).present.calls == 0


@pytest.mark.parametrize("days", [1, 7, 31, 366])
def test_one_statement_returns_no_more_rows_than_days_however_many_calls_there_are(app, hook, alice, days):
    asked, returned = [], []
    store_legs(app, hook, alice, *(ago(minutes=17 * number) for number in range(2000)))
    with app.app_context(), tenant_scope(alice.tenant_id):
        session = db.session()
        event.listen(db.engine, "before_cursor_execute", lambda *them: asked.append(them[2]))
        execute = session.execute
        session.execute = lambda *them: (rows := execute(*them).all(), returned.append(len(rows)))[0]
        overview(session, alice.tenant_id, Period.last(UTC_ZONE, days, NOON))
    assert len([statement for statement in asked if "FROM calls" in statement]) == 1
    assert len(returned) == 1
    assert returned[0] <= days + 3


def counted_by_hand(legs, time_zone, days, until):
    """The same figures, in plain Python."""
    of_call = {}
    for leg in sorted(legs, key=lambda leg: leg["started_at"]):
        of_call.setdefault(leg["linked_id"], []).append(leg)
    now = until.astimezone(time_zone).replace(tzinfo=None)
    dates = [now.date() - timedelta(days=ago) for ago in reversed(range(days))]
    present, before, by_day = [], [], {day: [] for day in dates}
    for call in of_call.values():
        began = call[0]["started_at"].astimezone(time_zone).replace(tzinfo=None)
        answered = [leg["talk_seconds"] for leg in call if leg["disposition"] == "answered"]
        entry = call[0]["source"], max(answered) if answered else None
        if began >= now:
            continue
        if began.date() in by_day:
            present.append(entry)
            by_day[began.date()].append(entry)
        elif dates[0] - timedelta(days=days) <= began.date() and began < now - timedelta(days=days):
            before.append(entry)

    def summed(calls):
        talks = [talk for _, talk in calls if talk is not None]
        return len(calls), len(talks), len({source for source, _ in calls}), sum(talks)

    return summed(present), summed(before), [(day, *summed(calls)[:2]) for day, calls in by_day.items()]


def as_counted(found: Overview):
    one, other = ((it.calls, it.answered, it.unique_callers, it.talk_seconds) for it in (found.present, found.before))
    return one, other, [(day.date, day.answered + day.missed, day.answered) for day in found.days]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Apia"])
@pytest.mark.parametrize("days", [1, 7, 30])
def test_the_figures_are_those_that_one_counts_by_hand(app, hook, alice, figures, zone, days):
    chance = random.Random(f"{zone} {days}")
    legs = []
    for number in range(400):
        began = NOON - timedelta(minutes=chance.randrange(2 * days * 24 * 60 + 600))
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            legs.append(
                {
                    "linked_id": f"call {number}",
                    "started_at": began,
                    "source": str(chance.randrange(50)),
                    "disposition": chance.choice(["answered", "busy", "no_answer", "voicemail"]),
                    "talk_seconds": chance.randrange(100),
                }
            )
            began += timedelta(seconds=chance.randrange(1, 9000))
    store_legs(app, hook, alice, *legs)
    time_zone = ZoneInfo(zone)
    assert as_counted(figures(NOON, days, time_zone)) == counted_by_hand(legs, time_zone, days, NOON)


def test_every_figure_is_defined_in_the_documents():
    names = {name for kind in (Figures, Day) for name in vars(kind) if not name.startswith("_")} - {"since", "until"}
    assert {name for name in names if not re.search(rf"`{name}`", METRICS)} == set()
