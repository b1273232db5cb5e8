"""What is going on, at a glance."""

import re
from datetime import date, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from app.audit import tally
from app.calls.models import Call
from app.calls.statistics import Day
from app.credentials.service import api_credentials
from app.dashboard.chart import volume_chart
from app.database import now
from app.extensions import db
from app.identity.models import Membership, Role, User
from app.payments.service import payment_accounts
from app.phone_systems.attention import CLOSED, NEW, NO_PASSWORD, REFUSED, SILENT, UNREADABLE
from app.phone_systems.models import PhoneSystem
from app.tenants import team
from app.tenants.models import Invitation, Tenant
from tests.calls.conftest import make_hook, store_legs
from tests.conftest import in_database
from tests.one_time import statements

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "<script>alert(1)</script>{{7*7}}=1+1"
WITHOUT_SECOND_FACTOR = "You sign in with a password alone, without a second factor."


def change(app, model, *of, **values):
    with in_database(app):
        db.session.execute(update(model).where(*of).values(**values))
        db.session.commit()


def promote(app, person, role=Role.ADMIN):
    change(app, Membership, Membership.user_id == person.user_id, role=role)


def protect(app, person):
    change(app, User, User.id == person.user_id, totp_confirmed_at=now())


def delivered(app, owner, *legs, **attributes):
    """A phone system that has delivered these legs: for each how many days ago it began, and how it ended."""
    hook = make_hook(app, owner, **attributes)
    records = [
        {
            "started_at": now() - timedelta(days=days),
            "disposition": disposition,
            "talk_seconds": talk,
            "duration_seconds": talk,
            "source": f"0{days}",
        }
        for days, disposition, talk in legs
    ]
    store_legs(app, hook, owner, *records)
    return hook


def tiles(page):
    """Of each tile what it says, by its title."""
    return {
        tile.dt.get_text(strip=True): [" ".join(dd.get_text(" ").split()) for dd in tile.find_all("dd")]
        for tile in page.soup.select(".tile")
    }


def needed(page):
    """What needs attention, without what is done about it."""
    return page.all(".points li > span")


# Before the first call


@only_sqlite
def test_a_new_tenant_sees_what_to_do_next(app, alice_visits, alice):
    page = alice_visits.open("/overview")
    assert page.all(".steps h2") == [
        "Connect your phone system",
        "Deliver the first call record",
        "Protect your sign-in and invite your team",
    ]
    assert page.soup.select(".chart, .tile, #attention, #connections") == []


@only_sqlite
def test_what_is_done_is_ticked(app, alice_visits, alice, bob):
    def done():
        return alice_visits.open("/overview").all(".steps > .done h2")

    assert done() == []
    make_hook(app, alice, name=CANARY)
    page = alice_visits.open("/overview")
    assert done() == ["Connect your phone system"]
    assert CANARY in page.text
    protect(app, alice)
    assert done() == ["Connect your phone system", "Protect your sign-in and invite your team"], "Bob is on the team"


@only_sqlite
def test_what_the_steps_do_not_say_is_below_them(app, alice_visits, alice):
    hook = make_hook(app, alice, base_url="https://pbx.acme.example")
    with in_database(app):
        api_credentials.create(db.session(), alice.tenant_id, {"name": "Maps", "provider": "acme"})
    page = alice_visits.open("/overview")
    assert page.soup.select(".steps")
    assert needed(page) == [f"HQ: {NO_PASSWORD}", "Maps: The key is missing."]
    assert page.soup.select(".points a")[0]["href"] == f"/phone-systems/{hook.phone_system_id}"


@only_sqlite
def test_the_steps_lead_straight_to_where_they_are_done(charlie_visits):
    links = {
        link.get_text(strip=True): link["href"] for link in charlie_visits.open("/overview").soup.select(".steps a")
    }
    assert links == {
        "Connect a phone system": "/phone-systems/new",
        "Turn on your second factor": "/account/second-factor",
        "Invite somebody": "/team/invite",
    }


@only_sqlite
def test_members_without_calls_are_told_whom_to_ask_on_both_pages(bob_visits):
    for address in ("/overview", "/calls"):
        assert "Owners and admins of Acme connect phone systems" in bob_visits.open(address).text
    assert not bob_visits.open("/calls").soup.select(".empty a")


def test_somebody_else_is_a_member_or_invited(app, alice, bob):
    def has_others():
        with in_database(app):
            alices = db.session.query(Membership).filter_by(user_id=alice.user_id).one()
            return team.has_others(db.session(), alice.tenant_id, alices.id)

    assert has_others()
    with in_database(app):
        db.session.delete(db.session.query(Membership).filter_by(user_id=bob.user_id).one())
        db.session.commit()
    assert not has_others()
    alice.client.post("/api/invitations", json={"email": "dora@acme.example", "role": "member"})
    assert has_others()
    change(app, Invitation, expires_at=now())
    assert not has_others()


@only_sqlite
def test_why_no_first_record_comes_is_said(app, alice_visits, alice):
    hook = make_hook(app, alice)
    assert "refused" not in alice_visits.open("/overview").text
    assert hook.deliver(credentials=("", "wrong")).status_code == 401
    assert "was refused: the user name or the password is wrong" in alice_visits.open("/overview").text
    assert hook.deliver(b"src=1").status_code == 422
    assert "was refused: uniqueid is missing." in alice_visits.open("/overview").text


@only_sqlite
def test_with_the_first_delivery_the_figures_come(app, alice_visits, alice):
    delivered(app, alice, (0, "answered", 60))
    page = alice_visits.open("/overview")
    assert page.soup.select(".steps") == []
    assert tiles(page)["Calls"][0] == "1"


# Figures


def test_each_figure_is_compared_with_the_days_before_in_words(app, alice_visits, alice):
    now_and_before = [(1, "answered", 60), (2, "answered", 100), (3, "busy", 0), (3, "no_answer", 0)]
    now_and_before += [(8, "answered", 50), (9, "answered", 51), (10, "answered", 49), (10, "failed", 0)]
    delivered(app, alice, *now_and_before)
    assert tiles(alice_visits.open("/overview?days=7")) == {
        "Calls": ["4", "as many 4 before"],
        "Answered": ["50%", "25 points less, worse 75% before"],
        "Missed": ["2", "1 more, worse 1 before"],
        "Unique callers": ["3", "as many 3 before"],
        "Average talk": ["1:20", "0:30 longer 0:50 before"],
    }
    fourteen = tiles(alice_visits.open("/overview?days=14"))
    assert fourteen["Calls"] == ["8", "no calls before"]
    assert fourteen["Answered"] == ["62%", "no calls before"]
    assert fourteen["Average talk"] == ["1:02", "none before"]


@only_sqlite
def test_less_trouble_is_called_better(app, alice_visits, alice):
    delivered(app, alice, (1, "answered", 10), (8, "busy", 0), (9, "busy", 0))
    found = tiles(alice_visits.open("/overview"))
    assert found["Calls"] == ["1", "1 fewer 2 before"]
    assert found["Answered"] == ["100%", "100 points more, better 0% before"]
    assert found["Missed"] == ["0", "2 fewer, better 2 before"]


@only_sqlite
def test_days_without_calls_divide_by_nothing(app, alice_visits, alice):
    delivered(app, alice, (8, "answered", 10))
    found = tiles(alice_visits.open("/overview"))
    assert found["Answered"] == ["—", "100% before"]
    assert found["Average talk"] == ["—", "0:10 before"]


@only_sqlite
@pytest.mark.parametrize(("days", "shown"), [("", 7), ("7", 7), ("14", 14), ("30", 30), ("8", 7), ("x", 7), ("-1", 7)])
def test_the_period_is_in_the_address(app, alice_visits, alice, days, shown):
    delivered(app, alice, (0, "answered", 10))
    page = alice_visits.open(f"/overview?days={days}")
    assert page.all("[aria-current=true]") == [f"{shown} days"]
    assert len(page.soup.select("details tbody tr")) == shown
    assert page.soup.find("a", string="30 days")["href"] == "/overview?days=30"


@only_sqlite
def test_the_chart_says_in_words_what_it_shows_and_so_does_a_table(app, alice_visits, alice):
    delivered(app, alice, (1, "answered", 10), (1, "busy", 0), (1, "answered", 5), (3, "busy", 0))
    page = alice_visits.open("/overview")
    (chart,) = page.soup.select("svg.chart")
    day = now().date() - timedelta(days=1)
    name = f"{day:%a} {day.day} {day:%b}"
    assert chart["role"] == "img"
    assert chart["aria-label"].endswith(f"2 answered and 2 missed. The most were 3, on {name}.")
    before = day - timedelta(days=2)
    assert page.all("svg.chart title") == [
        f"{name}: 2 answered",
        f"{before:%a} {before.day} {before:%b}: 1 missed",
        f"{name}: 1 missed",
    ]
    (row,) = [row for row in page.all("details tbody tr") if row.startswith(name)]
    assert row == f"{name} 2 1 3"


@pytest.mark.parametrize(
    ("most", "lines"),
    [(0, 2), (1, 2), (5, 6), (6, 4), (23, 6), (101, 4), (4_999, 6), (1_000_000, 6)],
)
def test_a_chart_has_few_lines_at_whole_numbers(most, lines):
    days = tuple(Day(date(2026, 3, 1) + timedelta(days=n), most if n == 3 else 0, 0) for n in range(30))
    drawing = str(volume_chart(days))
    axis = re.search(r'class="chart-axis y.*?(?=class="chart-axis x)', drawing, re.DOTALL)[0]
    numbers = [int(text.replace(",", "")) for text in re.findall(r"<text[^>]*>([^<]+)<", axis)]
    assert len(numbers) == lines
    assert numbers[0] == 0
    assert numbers[-1] >= most
    assert len({after - before for before, after in pairwise(numbers)}) == 1


def test_nothing_that_the_policy_forbids_is_left_of_a_drawing():
    drawing = str(volume_chart((Day(date(2026, 3, 29), 3, 2), Day(date(2026, 3, 30), 0, 1))))
    assert set(re.findall(r"<(\w+)", drawing)) == {"svg", "g", "rect", "path", "text", "title"}
    assert not re.search(r"style|script|href|pygal|xmlns|\bon\w+=", drawing)


# What needs attention


@only_sqlite
def test_nothing_to_do_is_said_too(app, alice_visits, alice):
    delivered(app, alice, (0, "answered", 10))
    protect(app, alice)
    page = alice_visits.open("/overview")
    assert needed(page) == []
    assert "Nothing to do" in page.text


@only_sqlite
def test_phone_systems_that_do_not_deliver_are_named(app, alice_visits, alice):
    protect(app, alice)
    delivered(app, alice, (0, "answered", 10), name="Silent")
    change(app, Call, received_at=now() - timedelta(days=3, seconds=1))
    delivered(app, alice, (0, "answered", 10), name="Fine")
    make_hook(app, alice, name=f"New {CANARY}")
    make_hook(app, alice, name="Closed")
    with in_database(app):
        closed = db.session.query(PhoneSystem).filter_by(name="Closed").one()
        closed.webhook_password = None
        db.session.commit()
    make_hook(app, alice, name="Dumb", base_url="https://pbx.acme.example")
    refused = make_hook(app, alice, name="Refused")
    assert refused.deliver(credentials=("", "wrong")).status_code == 401
    assert make_hook(app, alice, name="Other").deliver(b"src=1").status_code == 422
    assert needed(alice_visits.open("/overview")) == [
        f"Closed: {CLOSED}",
        f"Refused: {REFUSED}",
        f"Other: {UNREADABLE}",
        f"Silent: {SILENT}",
        f"Dumb and New {CANARY}: {NEW}",
        f"Dumb: {NO_PASSWORD}",
    ]
    refused.deliver()
    assert not [text for text in needed(alice_visits.open("/overview")) if text.startswith("Refused")]


@only_sqlite
def test_many_with_the_same_trouble_take_one_line(app, alice_visits, alice):
    protect(app, alice)
    delivered(app, alice, (0, "answered", 10))
    for number in range(5):
        make_hook(app, alice, name=f"No. {number}")
    assert needed(alice_visits.open("/overview")) == [f"No. 4, No. 3, No. 2 and 2 others: {NEW}"]


@only_sqlite
def test_without_any_phone_system_that_is_the_first_to_be_said(app, alice_visits, alice):
    hook = delivered(app, alice, (0, "answered", 10))
    assert alice.client.delete(f"/api/phone-systems/{hook.phone_system_id}").status_code == 204
    assert needed(alice_visits.open("/overview")) == [
        "No phone system is connected: no calls come in.",
        WITHOUT_SECOND_FACTOR,
    ]


@only_sqlite
def test_secrets_that_are_missing_or_expire_are_named(app, alice_visits, alice):
    protect(app, alice)
    delivered(app, alice, (0, "answered", 10))
    with in_database(app):
        for name, ends in (("Gone", -1), ("Soon", 29), ("Later", 31), ("Ever", None)):
            ends_at = now() + timedelta(days=ends) if ends is not None else None
            values = {"name": name, "provider": "acme", "secret": "hunter2", "expires_at": ends_at}
            api_credentials.create(db.session(), alice.tenant_id, values)
        api_credentials.create(db.session(), alice.tenant_id, {"name": CANARY, "provider": "acme"})
        payment_accounts.create(db.session(), alice.tenant_id, {"provider": "paypal", "mode": "live"})
    page = alice_visits.open("/overview")
    assert needed(page) == [
        "PayPal (live): The client ID is missing.",
        "PayPal (live): The client secret is missing.",
        "Gone: The key has expired: the provider does not accept it any more.",
        "Soon: The key expires within 30 days: get a new one from the provider, and replace it here.",
        f"{CANARY}: The key is missing.",
    ]
    assert "hunter2" not in page.response.text
    shown = page.all("section[aria-labelledby=connections] tbody td:first-child")
    assert shown == [
        "HQ Phone system",
        "PayPal (live) Payment account",
        f"{CANARY} API credential",
        "Ever API credential",
        "Later API credential",
        "Soon API credential",
        "Gone API credential",
    ]


@only_sqlite
def test_owners_are_told_of_other_keepers_without_a_second_factor(app, alice_visits, bob_visits, alice, bob):
    delivered(app, alice, (0, "answered", 10))
    assert needed(alice_visits.open("/overview")) == [WITHOUT_SECOND_FACTOR], "Bob is a member: he keeps no secrets"
    promote(app, bob)
    sentence = f"{bob.email} may change secrets, but signs in without a second factor."
    assert needed(alice_visits.open("/overview")) == [WITHOUT_SECOND_FACTOR, sentence]
    assert needed(bob_visits.open("/overview")) == [WITHOUT_SECOND_FACTOR]
    protect(app, bob)
    assert needed(alice_visits.open("/overview")) == [WITHOUT_SECOND_FACTOR]


def test_keepers_without_a_second_factor_are_those_who_can_sign_in(app, alice, bob, charlie):
    def found():
        with in_database(app):
            alices = db.session.query(Membership).filter_by(user_id=alice.user_id).one()
            return team.keepers_without_second_factor(db.session(), alice.tenant_id, alices.id)

    assert found() == []
    promote(app, bob)
    assert found() == [bob.email]
    change(app, Membership, Membership.user_id == bob.user_id, disabled_at=now())
    assert found() == []
    change(app, Membership, Membership.user_id == bob.user_id, disabled_at=None)
    change(app, User, User.id == bob.user_id, disabled_at=now())
    assert found() == []


# Who sees what


@only_sqlite
def test_members_see_calls_only(app, bob_visits, alice):
    page = bob_visits.open("/overview")
    assert "no calls in the last 14 days" in page.text
    assert page.soup.select(".steps") == []
    delivered(app, alice, (0, "answered", 10), name="Cellar")
    page = bob_visits.open("/overview")
    assert tiles(page)["Calls"][0] == "1"
    assert page.soup.select("#attention, #connections") == []
    assert "Cellar" not in page.text


@only_sqlite
def test_another_tenant_sees_its_own(app, charlie_visits, alice):
    delivered(app, alice, (0, "answered", 10), name="Cellar")
    page = charlie_visits.open("/overview")
    assert page.soup.select(".steps")
    assert "Cellar" not in page.text


def test_the_state_of_connections_is_shown(app, alice_visits, alice):
    hook = delivered(app, alice, (0, "answered", 10))
    change(app, Call, received_at=now() - timedelta(minutes=5))
    hook.deliver(credentials=("", "wrong"))
    with app.app_context():
        tally.store_counted()
    page = alice_visits.open("/overview")
    (row,) = page.all("section[aria-labelledby=connections] tbody tr")
    assert "Last delivery: 5 minutes ago Last refusal: just now" in row
    assert "A secret is stored" in row
    assert hook.password not in page.response.text


# How much it asks of the database


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_one_phone_system_takes_as_many_statements_as_fifty(app, alice_visits, alice, bob):
    promote(app, bob)

    def asked():
        with statements(app) as found:
            alice_visits.open("/overview")
        return len(found)

    hook = delivered(app, alice, (0, "answered", 10), (9, "busy", 0))
    with in_database(app):
        api_credentials.create(db.session(), alice.tenant_id, {"name": "Maps", "provider": "acme"})
        payment_accounts.create(db.session(), alice.tenant_id, {"provider": "paypal", "mode": "live"})
    hook.deliver(credentials=("", "wrong"))
    with app.app_context():
        tally.store_counted()
    one = asked()
    for number in range(49):
        delivered(app, alice, (number % 14, "answered", 10), name=f"No. {number}")
    assert asked() == one <= 12
    assert "40 more phone systems" in alice_visits.open("/overview").text


@only_sqlite
def test_the_first_steps_take_few_statements_too(app, alice_visits, alice):
    make_hook(app, alice)
    with statements(app) as found:
        alice_visits.open("/overview")
    assert len(found) <= 12


@only_sqlite
def test_the_day_is_the_tenants(app, alice_visits, alice):
    """In Kiritimati it is 14 hours later than in UTC: most of the time another day."""
    change(app, Tenant, Tenant.id == alice.tenant_id, time_zone="Pacific/Kiritimati")
    delivered(app, alice, (1, "answered", 10))
    local = now() + timedelta(hours=14) - timedelta(days=1)
    rows = alice_visits.open("/overview").all("details tbody tr")
    assert f"{local:%a} {local.day} {local:%b} 1 0 1" in rows
