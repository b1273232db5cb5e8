"""The log of calls, one of them, and a file of them."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.calls.models import Call
from app.dashboard.days import NO_DAY
from app.extensions import db
from app.tenants.models import Tenant
from tests.calls.conftest import NOON, hook, make_hook, store_legs
from tests.conftest import in_database
from tests.one_time import statements

__all__ = ["hook"]
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "<script>alert(1)</script>{{7*7}}"


def live_in(app, person, time_zone):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == person.tenant_id).values(time_zone=time_zone))
        db.session.commit()


def ids(page):
    """Of the records that are shown, in their order."""
    return [row.a["href"].rpartition("/")[2].partition("?")[0] for row in page.soup.select(".table-card tbody tr")]


def test_a_row_has_local_time_both_ends_duration_and_outcome_in_words(app, hook, alice, bob_visits):
    live_in(app, alice, "Asia/Kathmandu")
    store_legs(
        app, hook, alice, {"source": "+4420", "destination": "100", "disposition": "no_answer", "duration_seconds": 65}
    )
    (row,) = bob_visits.open("/calls").soup.select("tbody tr")
    cells = [" ".join(cell.get_text(" ").split()) for cell in row.find_all("td")]
    assert cells[0] == "20 Nov 2026, 17:45"
    assert cells[1].startswith("+4420")
    assert cells[2:] == ["100", "1:05", "Not answered", "HQ"]
    assert row.find("time")["title"] == "2026-11-20 12:00:00 UTC"


@only_sqlite
@pytest.mark.parametrize(
    ("disposition", "words"),
    [
        ("answered", "Answered"),
        ("no_answer", "Not answered"),
        ("busy", "Busy"),
        ("failed", "Failed"),
        ("voicemail", "Voicemail"),
        ("other", "Other"),
    ],
)
def test_every_outcome_has_a_name_and_a_filter(app, hook, alice, alice_visits, disposition, words):
    others = [{"disposition": name} for name in ("answered", "busy") if name != disposition]
    wanted, *_ = store_legs(app, hook, alice, {"disposition": disposition}, *others)
    page = alice_visits.send(alice_visits.open("/calls"), "Show", disposition=disposition)
    assert ids(page) == [wanted]
    assert page.all("tbody .badge") == [words]
    assert page.values("Show")["disposition"] == disposition


def test_filters_are_in_the_address_and_combined(app, hook, alice, bob_visits):
    other = make_hook(app, alice, name="Elsewhere")
    wanted, _, _ = store_legs(
        app, hook, alice, {"source": "+442071"}, {"source": "+442071", "disposition": "answered"}, {"source": "1"}
    )
    store_legs(app, other, alice, {"source": "+442071"})
    filled = {"number": " 2071 ", "disposition": "busy", "phone_system_id": str(hook.phone_system_id)}
    page = bob_visits.send(bob_visits.open("/calls"), "Show", from_date="2026-11-20", **filled)
    assert ids(page) == [wanted]
    values = page.values("Show")
    assert (values["from_date"], values["phone_system_id"]) == ("2026-11-20", str(hook.phone_system_id))
    assert ids(bob_visits.open("/calls?from_date=2026-11-20&number=2071&disposition=busy&to_date=2026-11-20")) != []


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        ("2026-10-25", datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 22, 59, 59, tzinfo=UTC)),
        ("2026-03-29", datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC)),
    ],
    ids=["25 hours", "23 hours"],
)
def test_days_are_the_tenants_also_when_clocks_change(app, hook, alice, alice_visits, day, first, last):
    live_in(app, alice, "Europe/Berlin")
    second = timedelta(seconds=1)
    moments = [first - second, first, last, last + second]
    before, began, ended, after = store_legs(app, hook, alice, *({"started_at": moment} for moment in moments))
    assert ids(alice_visits.open(f"/calls?from_date={day}&to_date={day}")) == [ended, began]
    assert ids(alice_visits.open(f"/calls?to_date={day}")) == [ended, began, before]
    assert ids(alice_visits.open(f"/calls?from_date={day}")) == [after, ended, began]


@only_sqlite
@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("from_date=2026-02-30", "from_date", NO_DAY),
        ("to_date=yesterday", "to_date", NO_DAY),
        ("from_date=0001-01-01", "from_date", NO_DAY),
        ("to_date=9999-12-31", "to_date", NO_DAY),
        ("from_date=2026-11-20&to_date=2026-11-19", "to_date", "This must not be before the first day."),
        ("number=%00", "number", "This must not contain control characters or line separators."),
        (f"number={'1' * 256}", "number", "This is too long: at most 255 characters."),
        ("disposition=lost", "disposition", "Please choose one of these."),
        ("phone_system_id=HQ", "phone_system_id", "This is not an id."),
        (
            "phone_system_id=00000000-0000-0000-0000-000000000000",
            "phone_system_id",
            "There is no such phone system.",
        ),
    ],
)
def test_a_filter_that_is_not_right_says_so_and_shows_nothing(app, hook, alice, alice_visits, query, field, said):
    live_in(app, alice, "Europe/Berlin")
    store_legs(app, hook, alice, {})
    page = alice_visits.open(f"/calls?{query}", 422)
    assert page.errors() == {field: said}
    assert page.soup.select("table, a[href*='export.csv']") == []
    led = alice_visits.open(f"/calls/export.csv?{query}", 422)
    assert (led.title, led.errors()) == ("Calls", {field: said})


@only_sqlite
def test_older_pages_keep_the_filters(app, hook, alice, alice_visits):
    stored = store_legs(app, hook, alice, *({"started_at": NOON + timedelta(seconds=n)} for n in range(60)))
    store_legs(app, hook, alice, {"disposition": "answered"})
    first = alice_visits.open("/calls?disposition=busy")
    older = alice_visits.open(first.soup.find("a", rel="next")["href"])
    assert ids(first) + ids(older) == stored[::-1]
    newest = older.soup.select_one("nav[aria-label=Pages] a")["href"]
    assert newest == "/calls?disposition=busy"
    assert older.soup.find("a", rel="next") is None


@only_sqlite
def test_the_cursor_of_another_list_is_refused_as_a_page(app, alice, alice_visits):
    for name in ("HQ", "Branch"):
        make_hook(app, alice, name=name)
    cursor = alice.client.get("/api/phone-systems?limit=1").json["next"]
    page = alice_visits.open(f"/calls?cursor={cursor}", 422)
    assert page.title == "We cannot make sense of this"
    assert "The cursor is not valid." in page.text


@only_sqlite
def test_no_name_in_the_address_is_taken_for_an_option_of_ours(app, hook, alice, alice_visits):
    store_legs(app, hook, alice, *({"started_at": NOON + timedelta(seconds=n)} for n in range(51)))
    page = alice_visits.open("/calls?endpoint=x&_external=1&_scheme=javascript&_anchor=x")
    assert page.soup.find("a", rel="next")["href"].startswith("/calls?endpoint=x&_external=1")
    alice_visits.open("/calls/export.csv?endpoint=x&_scheme=javascript&_external=1&disposition=lost", 422)


@only_sqlite
def test_no_calls_and_no_calls_that_fit_say_what_to_do(app, hook, alice, alice_visits):
    assert "There are no calls yet" in alice_visits.open("/calls").text
    store_legs(app, hook, alice, {})
    page = alice_visits.open("/calls?number=999")
    assert "No call fits these filters" in page.text
    assert page.soup.find("a", string="Show all calls")["href"] == "/calls"


# One record


def test_a_record_is_shown_with_the_legs_of_its_call_and_all_that_was_delivered(app, hook, alice, bob_visits):
    legs = [
        {"linked_id": "a call", "destination": "101", "details": {"channel": "PJSIP/1", "userfield": "x"}},
        {"linked_id": "a call", "destination": "102", "started_at": NOON - timedelta(seconds=5)},
        {"linked_id": "another", "destination": "103"},
    ]
    shown, earlier, _ = store_legs(app, hook, alice, *legs)
    page = bob_visits.open(f"/calls/{shown}")
    assert page.title == "Call from 100"
    assert page.all("[aria-label='What else the phone system delivered'] tbody tr") == [
        "channel PJSIP/1",
        "userfield x",
    ]
    rows = page.soup.select("[aria-label='Legs of this call'] tbody tr")
    assert [row.a and row.a["href"] for row in rows] == [f"/calls/{earlier}", None]
    assert "this one" in rows[1].get_text()
    assert page.soup.select_one("dd > a") is None, "members do not keep phone systems"


@only_sqlite
def test_whatever_was_delivered_is_text(app, hook, alice, alice_visits):
    everywhere = dict.fromkeys(("source", "destination", "caller_name"), CANARY)
    shown, _ = store_legs(app, hook, alice, {**everywhere, "details": {CANARY: CANARY}, "linked_id": "1"}, everywhere)
    page = alice_visits.open("/calls")
    assert page.text.count(CANARY) >= 3
    page = alice_visits.open(f"/calls/{shown}")
    assert page.title == f"Call from {CANARY}"
    assert page.all("[aria-label='What else the phone system delivered'] tbody tr") == [f"{CANARY} {CANARY}"]
    page = alice_visits.open("/calls?number=%3Cscript%3Ealert(1)%3C/script%3E%7B%7B7*7%7D%7D")
    assert page.values("Show")["number"] == CANARY


@only_sqlite
def test_a_record_outlives_its_phone_system(app, hook, alice, alice_visits):
    (shown,) = store_legs(app, hook, alice, {})
    alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}")
    assert "deleted" in alice_visits.open("/calls").all("tbody td")
    assert "deleted since" in alice_visits.open(f"/calls/{shown}").text


@only_sqlite
def test_demonstration_calls_are_marked(app, hook, alice, alice_visits):
    (shown,) = store_legs(app, hook, alice, {})
    assert "Demo" not in alice_visits.open("/calls").text
    with in_database(app):
        db.session.execute(update(Call).values(demonstration=True))
        db.session.commit()
    assert "Demo" in alice_visits.open("/calls").all(".badge")
    assert "made up, for a demonstration" in alice_visits.open(f"/calls/{shown}").text


def test_charlie_finds_nothing_of_it(app, hook, alice, charlie_visits):
    (shown,) = store_legs(app, hook, alice, {})
    assert charlie_visits.open(f"/calls/{shown}", 404).title == "Page not found"
    assert "There are no calls yet" in charlie_visits.open("/calls").text
    charlie_visits.open(f"/calls?phone_system_id={hook.phone_system_id}", 422)
    assert len(charlie_visits.client.get("/calls/export.csv").text.splitlines()) == 1


@only_sqlite
def test_strangers_are_asked_to_sign_in(visitor):
    for address in ("/calls", "/calls/export.csv?number=1", "/calls/00000000-0000-0000-0000-000000000000"):
        assert visitor.open(address).title == "Sign in"


# A file of them


def test_the_file_has_what_the_filters_choose_in_local_time_and_no_formula(app, hook, alice, bob_visits):
    live_in(app, alice, "Asia/Kathmandu")
    wanted, _ = store_legs(
        app, hook, alice, {"caller_name": "=1+1", "source": "+4420", "disposition": "answered"}, {"source": "+4420"}
    )
    page = bob_visits.open("/calls?number=%2B4420&disposition=answered")
    (link,) = page.soup.select("a[href*='export.csv']")
    answer = bob_visits.client.get(link["href"])
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="calls.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    (line,) = csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline=""))
    assert line["id"] == wanted
    assert line["started_at"] == "2026-11-20T17:45:00+05:45"
    assert (line["caller_name"], line["source"]) == ("'=1+1", "'+4420")


# How much it asks of the database


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_one_record_takes_as_many_statements_as_fifty(app, hook, alice, alice_visits):
    def asked(address):
        with statements(app) as found:
            alice_visits.open(address)
        return len(found)

    (shown,) = store_legs(app, hook, alice, {"linked_id": "a call"})
    addresses = ("/calls", "/calls?number=100&disposition=busy", f"/calls/{shown}")
    asked("/calls")  # what the very first connection asks is not meant
    one = [asked(address) for address in addresses]
    store_legs(app, hook, alice, *({"linked_id": "a call"} for _ in range(49)))
    for number in range(49):
        make_hook(app, alice, name=f"No. {number}")
    assert [asked(address) for address in addresses] == one
    assert max(one) <= 12


@only_sqlite
def test_the_way_back_from_a_call_keeps_the_filters_and_nothing_else(app, hook, alice, alice_visits):
    store_legs(app, hook, alice, {"source": "+4420", "disposition": "answered"})
    for query, back in (
        ("", "/calls"),
        ("?number=%2B4420&disposition=answered", "/calls?number=%2B4420&disposition=answered"),
        ("?number=%2B4420&next=//evil.example&_external=1", "/calls?number=%2B4420"),
    ):
        page = alice_visits.open(f"/calls{query}")
        page = alice_visits.open(page.soup.select_one(".table-card tbody a")["href"])
        assert page.soup.select_one(".actions a")["href"] == back
    assert alice_visits.open("/calls").soup.select("a[download]") == []


@only_sqlite
def test_a_call_is_shown_with_its_direction_its_extension_and_numbers_as_people_write_them(
    app, hook, alice, bob_visits
):
    alice.client.patch("/api/tenant", json={"country": "GB"})
    came, within = store_legs(
        app, hook, alice, {"source": "02071234567", "destination": "100"}, {"source": "101", "destination": "100"}
    )
    page = bob_visits.open("/calls?direction=inbound&extension=100&number=%2B44 20 7123 4567")
    assert ids(page) == [came]
    assert page.values("Show").items() >= {"direction": "inbound", "extension": "100"}.items()
    assert page.soup.select_one("tbody .icon[role=img]")["aria-label"] == "Inbound"
    facts = bob_visits.open(f"/calls/{came}").soup.select_one("dl.facts")
    found = dict(zip(facts.select("dt"), facts.select("dd"), strict=True))
    texts = {term.get_text(): " ".join(fact.get_text(" ").split()) for term, fact in found.items()}
    assert texts["Direction"] == "Inbound , extension 100".replace(" ,", ",")
    assert texts["From"].startswith("+44 20 7123 4567 delivered as 02071234567")
    assert texts["To"] == "100"
    assert ids(bob_visits.open("/calls?direction=internal")) == [within]


@only_sqlite
def test_a_direction_that_is_none_is_said_beside_its_field(alice_visits):
    page = alice_visits.open("/calls?direction=sideways", 422)
    assert page.errors() == {"direction": "Please choose one of these."}
