"""The page of the organisation, and where pages say which time zone their days are of."""

import pytest
from sqlalchemy import select, update

from app.dashboard.changing import CHANGED_MEANWHILE
from app.extensions import db
from app.identity import signing_out
from app.identity.models import Membership
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database
from tests.dashboard.conftest import statements

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PAGE = "/organisation"
CANARY = "<script>alert(1)</script>{{7*7}}=1+1"


def stored(app):
    with in_database(app):
        return db.session.scalars(select(Tenant).where(Tenant.subdomain == "acme")).one()


def make_admin(app, person):
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == person.user_id).values(role="admin"))
        db.session.commit()


def changes(person):
    return person.client.get("/api/audit-events", query_string={"action": "tenant.changed"}).json["items"]


def test_an_owner_changes_name_and_zone_and_every_page_follows(app, alice, alice_visits, charlie_visits):
    page = alice_visits.open(PAGE)
    assert page.title == "Organisation"
    assert page.values("Save").items() >= {"name": "Acme", "time_zone": "UTC"}.items()
    assert "acme It stays: it is part of the webhook addresses" in page.text
    page = alice_visits.send(page, "Save", name=" Acme Group ", time_zone="Asia/Kathmandu")
    assert (page.address, page.messages) == (PAGE, "Acme Group was saved.")
    assert page.values("Save").items() >= {"name": "Acme Group", "time_zone": "Asia/Kathmandu"}.items()
    assert page.all(".tenant-name") == ["Acme Group"]
    assert (stored(app).name, stored(app).time_zone, stored(app).version) == ("Acme Group", "Asia/Kathmandu", 2)
    assert "Days of Asia/Kathmandu." in alice_visits.open("/calls").text
    page = alice_visits.open("/audit?action=tenant.changed")
    assert page.all("tbody td.details")[0].startswith(
        "name: Acme Group previous name: Acme time zone: Asia/Kathmandu previous time zone: UTC"
    )
    assert f"{alice.email} changed the organisation's name, time zone, country, or how long calls are kept" in page.text
    assert charlie_visits.open(PAGE).values("Save").items() >= {"name": "Others", "time_zone": "UTC"}.items()


@on_sqlite
def test_owners_and_admins_see_the_page_and_nobody_else_does(app, visitor, alice, bob, alice_visits, bob_visits):
    assert PAGE in [link["href"] for link in alice_visits.open("/overview").soup.select("#menu a")]
    assert PAGE not in [link["href"] for link in bob_visits.open("/overview").soup.select("#menu a")]
    assert bob_visits.open("/account").soup.select(f"a[href='{PAGE}']") == []
    bob_visits.open(PAGE, 403)
    assert visitor.open(PAGE).title == "Sign in"
    form = alice_visits.open(PAGE)
    form.soup.find("input", attrs={"name": "csrf_token"})["value"] = bob_visits.open("/overview").values("Sign out")[
        "csrf_token"
    ]
    bob_visits.send(form, "Save", 403, name="Mine")
    assert stored(app).name == "Acme"
    make_admin(app, bob)
    page = bob_visits.open("/account")
    (link,) = [link for link in page.soup.main.select("a") if link["href"] == PAGE]
    assert link["aria-label"] == "Change the time zone"
    assert bob_visits.send(bob_visits.open(PAGE), "Save", name="By an admin").messages == "By an admin was saved."


@on_sqlite
@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"name": " "}, "name", "Please fill this in."),
        ({"name": "\u00a0\u2003"}, "name", "Please fill this in."),
        ({"name": "\u200b"}, "name", "This must contain something that can be seen."),
        ({"name": "Acme\u202e"}, "name", "This must not contain characters that turn the direction of writing."),
        ({"name": "x" * 256}, "name", "This is too long: at most 255 characters."),
        ({"name": "Acme\u2028Ltd"}, "name", "This must not contain control characters or line separators."),
        ({"time_zone": ""}, "time_zone", "Please fill this in."),
        (
            {"time_zone": "Mars/Olympus"},
            "time_zone",
            "This must be the name of an IANA time zone, such as Europe/Berlin.",
        ),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_saved(app, alice, alice_visits, typed, field, said):
    page = alice_visits.send(alice_visits.open(PAGE), "Save", 422, **{"name": "Kept"} | typed)
    assert page.errors() == {field: said}
    assert page.values("Save")["name"] == typed.get("name", "Kept")
    assert (stored(app).name, stored(app).version) == ("Acme", 1)
    assert changes(alice) == []


@on_sqlite
def test_saving_what_is_stored_already_changes_and_records_nothing(app, alice, alice_visits):
    alice_visits.send(alice_visits.open(PAGE), "Save")
    assert stored(app).version == 1
    assert changes(alice) == []


def test_who_was_slower_sees_both_and_decides(app, alice, bob, alice_visits, bob_visits):
    make_admin(app, bob)
    slow = alice_visits.open(PAGE)
    bob_visits.send(bob_visits.open(PAGE), "Save", name="Of Bob", time_zone="Europe/Berlin")
    page = alice_visits.send(slow, "Save", 422, name="Of Alice")
    assert CHANGED_MEANWHILE in page.messages
    assert page.all("tbody tr") == ["Name Of Bob Of Alice"]
    assert page.values("Save").items() >= {"name": "Of Alice", "time_zone": "Europe/Berlin"}.items()
    assert (stored(app).name, stored(app).version) == ("Of Bob", 2)
    alice_visits.send(page, "Save")
    assert (stored(app).name, stored(app).time_zone, stored(app).version) == ("Of Alice", "Europe/Berlin", 3)
    assert [event["actor"]["name"] for event in changes(alice)] == [alice.email, bob.email]


@on_sqlite
def test_what_was_typed_outlasts_the_session(app, alice, alice_visits):
    page = alice_visits.open(PAGE)
    with in_database(app):
        signing_out.end_of_tenant(db.session(), alice.tenant_id)
        db.session.commit()
    page = alice_visits.send(page, "Save", name="Acme Group", time_zone="Asia/Tokyo")
    assert page.title == "Sign in"
    page = alice_visits.send(page, "Sign in", **{"step-email": alice.email, "step-password": PASSWORD})
    assert "Nothing was done yet" in page.text
    assert page.values("Save").items() >= {"name": "Acme Group", "time_zone": "Asia/Tokyo"}.items()
    assert stored(app).version == 1
    alice_visits.send(page, "Save")
    assert (stored(app).name, stored(app).time_zone) == ("Acme Group", "Asia/Tokyo")


@on_sqlite
def test_a_name_is_shown_as_text_wherever_it_is_and_was(app, alice_visits):
    page = alice_visits.send(alice_visits.open(PAGE), "Save", name=CANARY)
    assert page.messages == f"{CANARY} was saved."
    page = alice_visits.send(alice_visits.open(PAGE), "Save", name="Acme")
    for address in (PAGE, "/audit", "/tenants", "/account"):
        assert "<script>alert" not in alice_visits.open(address).response.text
    assert f"previous name: {CANARY}" in alice_visits.open("/audit").text


def test_the_page_takes_few_statements(app, alice_visits):
    with statements(app) as seen:
        alice_visits.open(PAGE)
    assert len(seen) <= 12


@on_sqlite
@pytest.mark.parametrize("address", ["/calls", "/audit"])
def test_filters_say_once_which_time_zone_their_days_are_of(alice, alice_visits, address):
    alice.client.patch("/api/tenant", json={"time_zone": "America/Argentina/Buenos_Aires"})
    page = alice_visits.open(address)
    (hint,) = page.soup.select("form.filters .form-text")
    assert hint.get_text() == "Days of America/Argentina/Buenos_Aires."
    described = page.soup.select(f"[aria-describedby~={hint['id']}]")
    assert [field["name"] for field in described] == ["from_date", "to_date"]
    page = alice_visits.open(f"{address}?from_date=x", 422)
    assert page.errors().keys() == {"from_date"}
    (field,) = page.soup.select("[name=from_date]")
    assert field["aria-describedby"].split() == ["days-hint", "from_date-error"]


@on_sqlite
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/api-keys/new", "Only for “On the day below”: until that day ends in Europe/Berlin."),
        (
            "/api-credentials/new",
            "When the provider stops accepting it, if that is known. It is a time of Europe/Berlin.",
        ),
    ],
)
def test_an_expiry_says_which_time_zone_it_is_of(alice, alice_visits, address, said):
    alice.client.patch("/api/tenant", json={"time_zone": "Europe/Berlin"})
    page = alice_visits.open(address)
    (field,) = page.soup.select("[name=expires_at]")
    assert page.soup.find(id=field["aria-describedby"]).get_text() == said


@on_sqlite
def test_a_country_is_chosen_by_its_name_and_can_be_unknown_again(app, alice, alice_visits):
    page = alice_visits.open(PAGE)
    assert page.values("Save")["country"] == ""
    names = [option.get_text() for option in page.soup.select("[name=country] option")]
    assert names[0] == "Not known"
    assert names[1:] == sorted(names[1:])
    page = alice_visits.send(page, "Save", country="DE")
    assert (page.messages, stored(app).country) == ("Acme was saved.", "DE")
    assert page.values("Save")["country"] == "DE"
    page = alice_visits.send(page, "Save", 422, country="XX")
    assert page.errors() == {"country": "This must be the two letters of a country, such as GB (ISO 3166-1 alpha-2)."}
    alice_visits.send(alice_visits.open(PAGE), "Save", country="")
    assert stored(app).country is None
    assert [event["details"] for event in changes(alice)] == [
        {"country": None, "previous_country": "DE"},
        {"country": "DE", "previous_country": None},
    ]
