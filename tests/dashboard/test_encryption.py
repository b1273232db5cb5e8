"""The page of the encryption."""

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from bs4 import BeautifulSoup
from sqlalchemy import update

from app.database import now
from app.extensions import db
from app.identity.models import Membership
from tests.conftest import in_database
from tests.dashboard.conftest import signed_in_visitor
from tests.one_time import statements
from tests.tenants.test_secrets import record, rotation, store, with_new_key

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def counts(page):
    """How many secrets there are of each kind."""
    kinds = page.soup.find("table").select("tbody tr")
    return {row.find_all("td")[0].get_text(): row.find_all("td")[1].get_text() for row in kinds}


def tiles(page):
    return dict(zip(page.all(".tile dt"), page.all(".tile dd"), strict=True))


def is_live(page):
    """Whether it asks for itself as often as a rotation takes."""
    return page.soup.find(attrs={"data-live": True})["data-every"] == "3"


@on_sqlite
def test_owners_see_it_and_nobody_else_does(app, bob, alice_visits, bob_visits, visitor):
    page = alice_visits.open("/encryption")
    assert page.title == "Encryption"
    assert "How the secrets of Acme are kept." in page.text
    assert visitor.open("/encryption").title == "Sign in"
    for role in ("member", "admin"):
        with in_database(app):
            db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role=role))
            db.session.commit()
        for address in ("/encryption", "/encryption/now"):
            page = bob_visits.open(address, 403)
            assert "Only owners" in page.text
        assert "/encryption" not in [link["href"] for link in bob_visits.open("/overview").soup.select("#menu a")]


@on_sqlite
def test_without_a_secret_and_a_rotation_it_says_so(app, alice_visits):
    page = alice_visits.open("/encryption")
    primary = app.extensions["encryption"].keyring.primary.id
    assert tiles(page)["Stored secrets"] == "0"
    assert tiles(page)["Key for new secrets"].startswith(primary)
    assert tiles(page)["Last rotation"] == "none yet"
    assert set(counts(page).values()) == {"0"}
    assert not is_live(page)


def test_secrets_are_counted_by_kind_and_key_and_never_those_of_others(app, alice, charlie, alice_visits):
    store(app, charlie, 5)
    assert tiles(alice_visits.open("/encryption"))["Stored secrets"] == "0"
    store(app, alice, 2)
    page = alice_visits.open("/encryption")
    assert tiles(page)["Stored secrets"] == "6"
    assert counts(page).items() >= {"Phone system passwords": "2", "API key hashes": "1"}.items()
    primary = app.extensions["encryption"].keyring.primary.id
    assert re.fullmatch(f"{primary} for new secrets .* 6", page.all("tbody tr")[-1])
    assert "hunter2" not in page.response.text
    assert "v1:" not in page.response.text


def test_a_rotation_elsewhere_is_followed_while_it_runs_and_proved_in_the_end(app, settings, alice, charlie):
    store(app, alice, 4)
    store(app, charlie, 4)
    half_way, go_on = Event(), Event()

    def pause(values):
        half_way.set()
        assert go_on.wait(60)

    with with_new_key(settings, alice) as (app, alice), ThreadPoolExecutor(1) as elsewhere:
        keyring = app.extensions["encryption"].keyring
        old, new = keyring.fallbacks[0].id, keyring.primary.id
        visits = signed_in_visitor(app, alice)
        rotating = elsewhere.submit(rotation(app, batch_size=1, on_progress=pause).run)
        try:
            assert half_way.wait(60)
            page = visits.open("/encryption")
            (live,) = page.soup.select("[data-live]")
            fragment = visits.client.get(live["data-live"])
        finally:
            go_on.set()
        rotating.result(60)
        over, last = visits.client.get(live["data-live"]), visits.open("/encryption")
    assert "A rotation is running" in page.text
    done = int(page.soup.progress["value"])
    assert 0 <= done < 100
    assert tiles(page)["Last rotation"].startswith(f"{done} % running")
    assert (live["data-live"], live["data-every"]) == ("/encryption/now", "3")
    assert (tiles(page)["Stored secrets"], tiles(last)["Stored secrets"]) == ("8", "8")
    # What is asked for meanwhile is that part alone; once it is over it asks seldom, to see the next one begin.
    found = BeautifulSoup(fragment.text, "html.parser")
    assert (fragment.status_code, found.find("html"), found.progress["value"]) == (200, None, str(done))
    assert fragment.headers["Cache-Control"] == "no-store"
    assert BeautifulSoup(fragment.text.strip(), "html.parser").contents[0]["data-live"] == "/encryption/now"
    assert 'data-every="30"' in over.text
    assert not is_live(last)
    assert "every secret opens with the new key alone" in last.text
    assert tiles(last)["Last rotation"].endswith(" proved")
    facts = dict(zip(last.all(".facts dt"), last.all(".facts dd"), strict=True))
    assert (facts["From the key"], facts["To the key"], facts["Done"]) == (old, new, "100 %")
    assert last.all("tbody tr")[-1].startswith(f"{new} for new secrets")


@on_sqlite
def test_a_rotation_that_was_broken_off_or_not_proved_says_what_that_means(app, alice_visits):
    for values, said in (
        ({}, "It was broken off before its end. Nothing is lost"),
        ({"finished_at": now(), "remaining": 1}, "It came to its end, but not every secret"),
        ({"finished_at": now(), "remaining": 0, "unreadable": 1}, "It came to its end, but not every secret"),
    ):
        with in_database(app), db.engine.begin() as connection:
            record(connection, **values)
        page = alice_visits.open("/encryption")
        assert said in page.messages
        assert tiles(page)["Last rotation"].endswith(" not proved")
        assert not is_live(page)


def test_it_takes_as_many_statements_for_one_secret_as_for_fifty(app, alice, alice_visits):
    seen_at = []
    for count in (1, 50):
        store(app, alice, count)
        with in_database(app), db.engine.begin() as connection:
            record(connection)
        alice_visits.open("/encryption")
        with statements(app) as seen:
            alice_visits.open("/encryption")
        seen_at.append(len([one for one in seen if not re.match("BEGIN|SELECT set_config", one)]))
    assert seen_at[0] == seen_at[1] <= 12
