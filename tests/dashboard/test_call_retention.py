"""The page on which owners say how long call records are kept."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.calls.models import Call
from app.database import now
from app.extensions import db
from app.identity.models import Membership
from tests.calls.conftest import make_hook, store_legs
from tests.conftest import PASSWORD, in_database
from tests.dashboard.test_organisation import changes, make_admin, stored
from tests.identity.test_fresh_sign_in import grow_stale

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PAGE, BACK = "/organisation/call-retention", "/organisation"


@pytest.fixture
def old_calls(app, alice):
    """Two of them, of forty days ago and of twenty."""
    hook = make_hook(app, alice)
    store_legs(app, hook, alice, *({"started_at": now() - timedelta(days=days)} for days in (40, 20)))


def test_an_owner_is_told_what_is_deleted_and_has_to_say_so(app, alice, alice_visits, old_calls):
    assert "are kept for ever" in alice_visits.open(BACK).text
    page = alice_visits.open(PAGE)
    assert (page.title, "Now for ever." in page.text) == ("How long calls are kept", True)
    assert "This cannot be undone" in page.messages
    assert page.soup.select_one(".alert a")["href"] == "/calls/export.csv"
    page = alice_visits.send(page, "Save", 422, call_retention_days="30")
    assert page.errors() == {
        "confirmed": "To keep 30 days deletes 1 call record that you have now: tick this if you mean it."
    }
    assert "Yes, delete 1 call record for good" in page.text
    assert stored(app).call_retention_days is None
    page = alice_visits.send(page, "Save", confirmed="y")
    assert (page.address, page.messages) == (BACK, "Call records are kept for 30 days from now on.")
    assert "are deleted after 30 days, for good" in page.text
    assert (stored(app).call_retention_days, stored(app).version) == (30, 2)
    assert "call retention days: 30" in alice_visits.open("/audit?action=tenant.changed").text
    assert "Now for 30 days: from " in alice_visits.open(PAGE).text
    with in_database(app):
        assert len(db.session.scalars(select(Call.id)).all()) == 2, "that is left to the command"
    page = alice_visits.send(alice_visits.open(PAGE), "Save", call_retention_days="")
    assert page.messages == "Call records are kept for ever from now on."
    assert stored(app).call_retention_days is None


@on_sqlite
def test_who_says_yes_to_few_has_not_said_yes_to_more(app, alice_visits, old_calls):
    page = alice_visits.send(alice_visits.open(PAGE), "Save", 422, call_retention_days="30")
    page = alice_visits.send(page, "Save", 422, call_retention_days="10", confirmed="y")
    assert "Yes, delete 2 call records for good" in page.text
    assert page.soup.select_one("[name=confirmed]").get("checked") is None
    assert stored(app).call_retention_days is None
    alice_visits.send(page, "Save", confirmed="y")
    assert stored(app).call_retention_days == 10


@on_sqlite
def test_nobody_is_asked_where_nothing_more_is_deleted(app, alice_visits, old_calls):
    alice_visits.send(alice_visits.open(PAGE), "Save", call_retention_days="41")
    page = alice_visits.send(alice_visits.open(PAGE), "Save", 422, call_retention_days="30")
    alice_visits.send(page, "Save", confirmed="y")
    alice_visits.send(alice_visits.open(PAGE), "Save", call_retention_days="35")
    assert stored(app).call_retention_days == 35


@on_sqlite
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("6", "This must be at least 7."),
        ("3651", "This must be at most 3650."),
        ("-30", "This must be at least 7."),
        ("a year", "This must be a whole number."),
        ("30.5", "This must be a whole number."),
        ("9" * 5000, "This must be a whole number."),
    ],
)
def test_what_is_no_number_of_days_is_said_and_not_saved(app, alice, alice_visits, typed, said):
    page = alice_visits.send(alice_visits.open(PAGE), "Save", 422, call_retention_days=typed)
    assert page.errors() == {"call_retention_days": said}
    assert page.values("Save")["call_retention_days"] == typed
    assert (stored(app).call_retention_days, changes(alice)) == (None, [])


@on_sqlite
def test_admins_see_it_and_do_not_change_it(app, bob, alice_visits, bob_visits):
    links = [link["href"] for link in alice_visits.open(BACK).soup.main.select("a")]
    assert PAGE in links
    make_admin(app, bob)
    page = bob_visits.open(BACK)
    assert PAGE not in [link["href"] for link in page.soup.main.select("a")]
    assert "An owner can change this." in page.text
    bob_visits.open(PAGE, 403)


@on_sqlite
def test_it_asks_for_the_password_again(app, alice_visits, old_calls):
    page = alice_visits.open(PAGE)
    grow_stale(app)
    page = alice_visits.send(page, "Save", call_retention_days="365")
    assert page.title == "Is it you?"
    assert stored(app).call_retention_days is None
    page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
    assert page.values("Save")["call_retention_days"] == "365"
    alice_visits.send(page, "Save")
    assert stored(app).call_retention_days == 365


@on_sqlite
def test_of_two_owners_the_slower_one_sees_both(app, bob, alice_visits, bob_visits):
    with in_database(app):
        db.session.execute(update(Membership).values(role="owner"))
        db.session.commit()
    slow = alice_visits.open(PAGE)
    bob_visits.send(bob_visits.open(PAGE), "Save", call_retention_days="365")
    page = alice_visits.send(slow, "Save", 422, call_retention_days="30")
    assert page.all("tbody tr") == ["Delete call records after so many days 365 30"]
    alice_visits.send(page, "Save")
    assert stored(app).call_retention_days == 30
