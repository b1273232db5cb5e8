"""Payment accounts on pages."""

from uuid import uuid4

import pytest
from sqlalchemy import select

from app.extensions import db
from app.payments.models import PaymentAccount
from tests.conftest import in_database
from tests.dashboard.conftest import statements
from tests.dashboard.test_phone_systems import let_proof_expire, prove

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LIST = "/payment-accounts"


def stored(app) -> PaymentAccount:
    with in_database(app):
        return db.session.scalars(select(PaymentAccount)).one()


def secret_of(app) -> str | None:
    with in_database(app):
        return db.session.scalars(select(PaymentAccount)).one().client_secret


@pytest.fixture
def account(alice) -> str:
    """The page of an account of Alice's."""
    body = {"provider": "paypal", "mode": "sandbox", "client_id": "AbC", "client_secret": "hunter2"}
    return alice.client.post("/api/payment-accounts", json=body).headers["Location"].removeprefix("/api")


def test_one_is_added_and_seen_with_who_set_its_secret(app, alice, alice_visits):
    page = alice_visits.open(LIST)
    assert "There is no payment account yet" in page.text
    page = alice_visits.open(page.soup.select_one(".empty a")["href"])
    page = alice_visits.send(page, "Save", client_id="AbC", client_secret="hunter2")
    assert (page.title, page.messages) == ("PayPal (sandbox)", "PayPal (sandbox) was saved.")
    assert f"by {alice.email}" in page.text
    assert secret_of(app) == "hunter2"
    page = alice_visits.open(LIST)
    assert page.all("tbody td a") == ["PayPal (sandbox)"]
    assert f"by {alice.email}" in page.text
    assert "Fine" in page.text


def test_what_is_missing_is_told(alice_visits):
    page = alice_visits.send(alice_visits.open(f"{LIST}/new"), "Save", mode="live")
    assert page.title == "PayPal (live)"
    missing = "The client ID is missing. The client secret is missing."
    assert page.messages.endswith(missing)
    assert missing in alice_visits.open(LIST).text
    assert missing in alice_visits.open("/overview").text
    page = alice_visits.send(alice_visits.open(f"{page.address}/edit"), "Save", client_id="AbC")
    assert page.messages.endswith("was saved. The client secret is missing.")


@on_sqlite
@pytest.mark.parametrize("choice", ["x", "", None])
def test_another_provider_or_mode_than_those_offered_is_refused(alice_visits, choice):
    for field in ("provider", "mode"):
        page = alice_visits.send(alice_visits.open(f"{LIST}/new"), "Save", 422, **{field: choice})
        assert page.errors().keys() == {field}
    assert "There is no payment account yet" in alice_visits.open(LIST).text


def test_a_secret_is_replaced_on_a_page_of_its_own(app, alice, alice_visits, account):
    page = alice_visits.open(account)
    page = alice_visits.open(page.soup.find("a", string="Replace")["href"])
    assert page.title == "Replace the client secret of PayPal (sandbox)"
    assert f"by {alice.email}" in page.text
    page = alice_visits.send(page, "Save", client_secret=" hunter3 ")
    assert page.messages == "The client secret of PayPal (sandbox) was saved."
    assert secret_of(app) == " hunter3 "


@on_sqlite
def test_an_empty_or_endless_secret_is_refused_and_the_stored_one_stays(app, alice_visits, account):
    page = alice_visits.open(f"{account}/secret")
    assert alice_visits.send(page, "Save", 422).errors() == {"client_secret": "Please fill this in."}
    page = alice_visits.send(page, "Save", 422, client_secret="x" * 4097)
    assert page.errors() == {"client_secret": "This is too long: at most 4096 characters."}
    assert secret_of(app) == "hunter2"


def test_a_secret_is_removed_after_a_page_that_says_what_that_means(app, alice_visits, account):
    page = alice_visits.open(account)
    page = alice_visits.open(page.soup.find("a", string="Remove")["href"])
    assert page.title == "Remove the client secret of PayPal (sandbox)?"
    page = alice_visits.send(page, "Remove the client secret")
    assert "The client secret of PayPal (sandbox) was removed." in page.messages
    assert "not set" in page.text
    assert secret_of(app) is None


def test_changing_where_the_secret_is_sent_asks_for_it_again_and_says_why(app, alice_visits, account):
    page = alice_visits.open(f"{account}/edit")
    assert "client_secret" not in page.values("Save")
    page = alice_visits.send(page, "Save", 422, mode="live", webhook_id="WH-1")
    assert "was entered for PayPal (sandbox). Please enter it again" in page.text
    assert page.errors() == {"client_secret": "Enter the client secret again, or choose below to save without one."}
    assert page.values("Save")["webhook_id"] == "WH-1"
    assert (stored(app).mode, secret_of(app)) == ("sandbox", "hunter2")
    page = alice_visits.send(page, "Save", client_secret="hunter3")
    assert (page.title, page.messages) == ("PayPal (live)", "PayPal (live) was saved.")
    assert (stored(app).mode, secret_of(app)) == ("live", "hunter3")


def test_it_may_be_left_out_knowingly(app, alice_visits, account):
    page = alice_visits.send(alice_visits.open(f"{account}/edit"), "Save", 422, mode="live")
    page = alice_visits.send(page, "Save", without_secret="y")
    assert "Its client secret was removed: enter one when you have it." in page.messages
    assert (stored(app).mode, secret_of(app)) == ("live", None)


@on_sqlite
def test_changing_the_mind_about_the_address_keeps_the_secret(app, alice_visits, account):
    page = alice_visits.send(alice_visits.open(f"{account}/edit"), "Save", 422, mode="live")
    alice_visits.send(page, "Save", mode="sandbox", webhook_id="WH-1")
    assert (stored(app).webhook_id, secret_of(app)) == ("WH-1", "hunter2")


@on_sqlite
def test_without_a_secret_nothing_is_asked(app, alice_visits, account):
    alice_visits.send(alice_visits.open(f"{account}/secret/remove"), "Remove the client secret")
    page = alice_visits.send(alice_visits.open(f"{account}/edit"), "Save", mode="live")
    assert page.title == "PayPal (live)"


@on_sqlite
def test_proof_is_asked_for_before_the_secret_is_and_what_was_typed_stays(app, alice_visits, account):
    page = alice_visits.open(f"{account}/edit")
    let_proof_expire(app)
    page = alice_visits.send(page, "Save", mode="live", webhook_id="WH-1")
    page = prove(alice_visits, page)
    assert page.values("Save")["mode"] == "live"
    assert page.values("Save")["webhook_id"] == "WH-1"
    assert "was entered for PayPal (sandbox)" in page.text
    assert stored(app).mode == "sandbox"
    alice_visits.send(page, "Save", client_secret="hunter3")
    assert (stored(app).mode, secret_of(app)) == ("live", "hunter3")


@on_sqlite
def test_what_is_no_secret_needs_no_proof(app, alice_visits, account):
    let_proof_expire(app)
    page = alice_visits.send(alice_visits.open(f"{account}/edit"), "Save", webhook_id="WH-1")
    assert page.title == "PayPal (sandbox)"


@on_sqlite
def test_the_second_tab_is_told_before_it_is_asked_for_a_secret(app, alice_visits, account):
    page = alice_visits.open(f"{account}/edit")
    alice_visits.send(alice_visits.open(f"{account}/edit"), "Save", client_id="Other")
    page = alice_visits.send(page, "Save", 422, mode="live")
    rows = [" ".join(row.get_text(" ").split()) for row in page.soup.select("tbody tr")]
    assert rows == ["Mode Sandbox: for trying out, moves no money Live: moves real money"]
    assert page.values("Save")["client_id"] == "Other"
    assert (stored(app).mode, stored(app).client_id) == ("sandbox", "Other")
    page = alice_visits.send(page, "Save", client_id="Other", client_secret="hunter3")
    assert (stored(app).mode, stored(app).client_id, secret_of(app)) == ("live", "Other", "hunter3")


@on_sqlite
def test_replacing_a_secret_that_was_replaced_meanwhile_is_told(app, alice_visits, account):
    page = alice_visits.open(f"{account}/secret")
    alice_visits.send(alice_visits.open(f"{account}/secret"), "Save", client_secret="first")
    page = alice_visits.send(page, "Save", 422, client_secret="second")
    assert "It was changed meanwhile" in page.messages
    assert "please type it once more" in page.messages
    assert secret_of(app) == "first"
    alice_visits.send(page, "Save", client_secret="second")
    assert secret_of(app) == "second"


def test_deleting_names_it_and_what_that_means(alice_visits, account):
    page = alice_visits.open(f"{account}/delete")
    assert page.title == "Delete PayPal (sandbox)?"
    assert "Its client secret cannot be brought back" in page.text
    page = alice_visits.send(page, "Delete PayPal (sandbox)")
    assert (page.title, page.messages) == ("Payment accounts", "PayPal (sandbox) was deleted.")
    alice_visits.open(account, 404)


@on_sqlite
def test_only_owners_and_admins_of_the_tenant_see_any_of_it(bob_visits, charlie_visits, account):
    for path in ("", "/edit", "/delete", "/secret", "/secret/remove"):
        assert bob_visits.open(account + path, 403).title == "Not allowed"
        assert charlie_visits.open(account + path, 404).title == "Page not found"
        assert charlie_visits.open(f"{LIST}/{uuid4()}{path}", 404).title == "Page not found"
    for path in (LIST, f"{LIST}/new"):
        assert bob_visits.open(path, 403).title == "Not allowed"
    assert "PayPal" not in charlie_visits.open(LIST).all("tbody")


@on_sqlite
def test_markup_and_formulas_are_text(alice_visits):
    canary = "<script>alert(1)</script>{{7*7}}=1+1"
    page = alice_visits.send(alice_visits.open(f"{LIST}/new"), "Save", client_id=canary, webhook_id=canary)
    assert page.all("dd").count(canary) == 2
    assert canary in alice_visits.open(LIST).text
    assert alice_visits.open(f"{page.address}/edit").values("Save")["client_id"] == canary


def test_a_list_takes_the_same_number_of_statements_however_long_it_is(app, alice, alice_visits):
    counts = []
    for number in (1, 49):
        for _ in range(number):
            alice.client.post("/api/payment-accounts", json={"provider": "paypal", "mode": "live"})
        alice_visits.open(LIST)
        with statements(app) as seen:
            page = alice_visits.open(LIST)
        counts.append(len(seen))
    assert len(page.soup.select("tbody tr")) == 50
    assert counts[0] == counts[1] <= 12
