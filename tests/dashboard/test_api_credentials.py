"""API credentials on pages."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.credentials.models import ApiCredential
from app.credentials.service import api_credentials
from app.dashboard import local_time
from app.dashboard.days import ZONE_CHANGED
from app.database import now
from app.errors import Invalid
from app.extensions import db
from app.tenants.models import Tenant
from tests.conftest import in_database
from tests.dashboard.conftest import statements

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LIST = "/api-credentials"


def stored(app) -> ApiCredential:
    with in_database(app):
        return db.session.scalars(select(ApiCredential)).one()


def secret_of(app) -> str | None:
    with in_database(app):
        return db.session.scalars(select(ApiCredential)).one().secret


@pytest.fixture(autouse=True)
def in_zurich(app, alice):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.subdomain == "acme").values(time_zone="Europe/Zurich"))
        db.session.commit()


def make(app, alice, **values):
    """The page of a credential of Alice's."""
    with in_database(app):
        row = api_credentials.create(db.session(), alice.tenant_id, {"name": "Maps", "provider": "acme", **values})
        return f"{LIST}/{row.id}"


def test_one_is_added_with_the_time_at_which_it_expires_by_the_clock_on_the_wall(app, alice, alice_visits):
    page = alice_visits.open(LIST)
    assert "There is no API credential yet" in page.text
    page = alice_visits.open(page.soup.select_one(".empty a")["href"])
    fields = {"name": "Transcription", "provider": "Deepgram", "secret": "k", "expires_at": "2030-07-31T12:00"}
    page = alice_visits.send(page, "Save", **fields)
    assert (page.title, page.messages) == ("Transcription", "Transcription was saved.")
    assert "31 Jul 2030, 12:00" in page.text
    assert f"by {alice.email}" in page.text
    assert stored(app).expires_at == datetime(2030, 7, 31, 10, 0, tzinfo=UTC)
    assert secret_of(app) == "k"
    page = alice_visits.open(LIST)
    assert "31 Jul 2030, 12:00" in page.text
    assert "Fine" in page.text
    assert alice_visits.open(f"{LIST}/{stored(app).id}/edit").values("Save")["expires_at"] == "2030-07-31T12:00"


@on_sqlite
@pytest.mark.parametrize(
    ("expires_in", "said"),
    [
        (timedelta(days=-1), "The key has expired"),
        (timedelta(days=29), "The key expires within 30 days"),
        (timedelta(days=31), "Fine"),
        (None, "Fine"),
    ],
)
def test_what_expires_is_told(app, alice, alice_visits, expires_in, said):
    page = make(app, alice, secret="k", expires_at=expires_in and now() + expires_in)
    assert said in alice_visits.open(LIST).text
    assert said == "Fine" or said in alice_visits.open(page).messages
    assert said in alice_visits.open("/overview").text


@on_sqlite
def test_a_missing_key_is_told(app, alice, alice_visits):
    make(app, alice)
    page = alice_visits.open(LIST)
    assert "The key is missing." in page.text
    assert "not set" in page.text


@on_sqlite
@pytest.mark.parametrize(
    "text", ["tomorrow", "2030-01-31", "2030-02-30T12:00", "2030-01-31T12:00Z", "0001-01-01T00:00", "١٢"]
)
def test_what_is_no_time_is_said_beside_the_field(alice_visits, text):
    page = alice_visits.open(f"{LIST}/new")
    page = alice_visits.send(page, "Save", 422, name="Maps", provider="acme", expires_at=text)
    assert page.errors() == {"expires_at": local_time.NO_TIME}
    assert page.values("Save")["expires_at"] == text


@on_sqlite
def test_a_time_that_clocks_leave_out_is_refused(alice_visits):
    page = alice_visits.open(f"{LIST}/new")
    page = alice_visits.send(page, "Save", 422, name="Maps", provider="acme", expires_at="2030-03-31T02:30")
    assert page.errors() == {"expires_at": local_time.LEFT_OUT}


@on_sqlite
def test_of_a_time_that_clocks_show_twice_the_earlier_is_taken_and_that_is_said(app, alice_visits):
    page = alice_visits.open(f"{LIST}/new")
    page = alice_visits.send(page, "Save", name="Maps", provider="acme", expires_at="2030-10-27T02:30")
    assert "show the time at which it expires twice: the earlier one was taken" in page.messages
    assert stored(app).expires_at == datetime(2030, 10, 27, 0, 30, tzinfo=UTC)


@on_sqlite
@pytest.mark.parametrize(
    "moment", [datetime(2030, 10, 27, 1, 30, tzinfo=UTC), datetime(2030, 1, 31, 12, 0, 37, 5, tzinfo=UTC)]
)
def test_a_time_that_is_not_touched_stays_what_it_is(app, alice, alice_visits, moment):
    page = make(app, alice, expires_at=moment)
    page = alice_visits.send(alice_visits.open(f"{page}/edit"), "Save", name="Routes")
    assert page.messages == "Routes was saved. The key is missing."
    assert stored(app).expires_at == moment
    assert stored(app).name == "Routes"


@on_sqlite
def test_a_time_is_removed_by_emptying_its_field(app, alice, alice_visits):
    page = make(app, alice, expires_at=now())
    alice_visits.send(alice_visits.open(f"{page}/edit"), "Save", expires_at="")
    assert stored(app).expires_at is None


@on_sqlite
def test_the_last_moment_there_is_can_be_shown_and_kept(app, alice, alice_visits):
    moment = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    page = make(app, alice, expires_at=moment)
    assert "9999" in alice_visits.open(page).text
    alice_visits.open(LIST)
    alice_visits.send(alice_visits.open(f"{page}/edit"), "Save", name="Routes")
    assert stored(app).expires_at == moment


def test_a_time_is_read_as_the_clock_on_the_wall_shows_it():
    zurich = local_time.ZoneInfo("Europe/Zurich")
    assert local_time.read("2030-01-31T12:00", zurich) == datetime(2030, 1, 31, 11, 0, tzinfo=UTC)
    assert local_time.read("2030-03-31T03:00:00", zurich) == datetime(2030, 3, 31, 1, 0, tzinfo=UTC)
    with pytest.raises(Invalid, match="put forward"):
        local_time.read("2030-03-31T02:00", zurich)
    assert local_time.happens_twice("2030-10-27T02:00", zurich)
    assert not local_time.happens_twice("2030-10-27T03:00", zurich)
    assert not local_time.happens_twice("2030-03-31T02:30", zurich)
    lord_howe = local_time.ZoneInfo("Australia/Lord_Howe")  # by half an hour
    assert local_time.happens_twice("2030-04-07T01:45", lord_howe)
    assert not local_time.happens_twice("2030-04-07T01:15", lord_howe)


class TestAnotherTimeZoneMeanwhile:
    """The form shows 12:00 in Berlin; then the organisation moves to New York."""

    @pytest.fixture
    def form(self, app, alice, alice_visits):
        self.set_zone(app, "Europe/Berlin")
        page = make(app, alice, expires_at=datetime(2030, 1, 31, 11, tzinfo=UTC))
        form = alice_visits.open(f"{page}/edit")
        self.set_zone(app, "America/New_York")
        return form

    def set_zone(self, app, name):
        with in_database(app):
            db.session.execute(update(Tenant).where(Tenant.subdomain == "acme").values(time_zone=name))
            db.session.commit()

    def test_a_time_that_was_not_touched_stays(self, app, alice_visits, form):
        page = alice_visits.send(form, "Save", 422, name="Routes")
        assert page.messages.startswith(ZONE_CHANGED)
        assert page.values("Save")["expires_at"] == "2030-01-31T06:00"
        alice_visits.send(page, "Save")
        assert (stored(app).name, stored(app).expires_at) == ("Routes", datetime(2030, 1, 31, 11, tzinfo=UTC))

    def test_a_time_that_was_typed_is_shown_again_before_it_is_taken_as_one_of_the_new_zone(
        self, app, alice_visits, form
    ):
        page = alice_visits.send(form, "Save", 422, expires_at="2030-02-01T12:00")
        assert stored(app).expires_at == datetime(2030, 1, 31, 11, tzinfo=UTC)
        alice_visits.send(page, "Save")
        assert stored(app).expires_at == datetime(2030, 2, 1, 17, tzinfo=UTC)


def test_another_provider_asks_for_the_key_again(app, alice, alice_visits):
    page = alice_visits.open(f"{make(app, alice, secret='k')}/edit")
    page = alice_visits.send(page, "Save", 422, provider="other")
    assert page.errors().keys() == {"secret"}
    assert "was entered for acme" in page.text
    alice_visits.send(page, "Save", secret="new")
    assert (stored(app).provider, secret_of(app)) == ("other", "new")


@on_sqlite
def test_a_key_is_replaced_and_removed(app, alice, alice_visits):
    page = make(app, alice, secret="k")
    alice_visits.send(alice_visits.open(f"{page}/secret"), "Save", secret="new")
    assert secret_of(app) == "new"
    alice_visits.send(alice_visits.open(f"{page}/secret/remove"), "Remove the key")
    assert secret_of(app) is None
    assert alice_visits.open(f"{page}/secret").title == "Set the key of Maps"


@on_sqlite
def test_deleting_says_that_the_provider_still_accepts_it(app, alice, alice_visits):
    page = alice_visits.open(f"{make(app, alice)}/delete")
    assert "The provider accepts it until it is deleted there" in page.text
    assert alice_visits.send(page, "Delete Maps").messages == "Maps was deleted."


@on_sqlite
def test_only_owners_and_admins_of_the_tenant_see_any_of_it(app, alice, bob_visits, charlie_visits):
    page = make(app, alice)
    for path in ("", "/edit", "/delete", "/secret", "/secret/remove"):
        assert bob_visits.open(page + path, 403).title == "Not allowed"
        assert charlie_visits.open(page + path, 404).title == "Page not found"
        assert charlie_visits.open(f"{LIST}/{uuid4()}{path}", 404).title == "Page not found"
    for path in (LIST, f"{LIST}/new"):
        assert bob_visits.open(path, 403).title == "Not allowed"
    assert "Maps" not in charlie_visits.open(LIST).text


@on_sqlite
def test_markup_and_formulas_are_text(app, alice_visits):
    canary = "<script>alert(1)</script>{{7*7}}=1+1"
    page = alice_visits.send(alice_visits.open(f"{LIST}/new"), "Save", name=canary, provider=canary)
    assert page.title == canary
    assert canary in page.messages
    for path in ("/edit", "/delete", "/secret"):
        assert canary in alice_visits.open(page.address + path).title
    assert alice_visits.open(LIST).text.count(canary) == 2


def test_a_list_takes_the_same_number_of_statements_however_long_it_is(app, alice, alice_visits):
    counts = []
    for number in (1, 49):
        for _ in range(number):
            make(app, alice)
        alice_visits.open(LIST)
        with statements(app) as seen:
            page = alice_visits.open(LIST)
        counts.append(len(seen))
    assert len(page.soup.select("tbody tr")) == 50
    assert counts[0] == counts[1] <= 12
