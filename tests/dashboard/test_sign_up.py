"""Signing up, from the form to the first page."""

import pytest
from sqlalchemy import select

from app.extensions import db
from app.mail.models import Mail
from app.tenants.models import Tenant
from tests.conftest import in_database
from tests.dashboard.visitor import Visitor
from tests.mail.mailbox import mailbox, settings
from tests.one_time import contents, post

__all__ = ["mailbox", "settings"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

DORA = "dora@initech.example"
NEW = "a new password"
INITECH = {"tenant_name": "Initech", "subdomain": "initech", "email": DORA, "time_zone": "Europe/Zurich"}
CANARY = "<script>alert(1)</script>{{7*7}}"


def sign_up(visitor, status=200, **changes):
    return visitor.send(visitor.open("/sign-up"), "Send me a link", status, **(INITECH | changes))


def open_link(visitor, token):
    """What the script does with a link that was opened."""
    return visitor.send(visitor.open("/sign-up/confirm"), "Continue", token=token)


def test_who_signs_up_gets_an_organisation_and_is_signed_in(app, visitor, mailbox):
    assert sign_up(visitor).title == "Look into your mail"
    page = open_link(visitor, mailbox.token(DORA))
    assert page.title == "Create Initech"
    assert page.all("dd") == [DORA, "initech", "Europe/Zurich"]
    page = visitor.send(page, "Create the account", password=NEW)
    assert (page.title, page.address) == ("Overview", "/overview")
    assert "You are signed in to Initech" in page.messages
    assert page.soup.select_one(".tenant-name").get_text() == "Initech"
    assert (post(visitor.client, "/api/login", email=DORA, password=NEW)).status_code == 200


@on_sqlite
def test_who_is_signed_in_with_the_browser_is_told_that_this_ends(alice, alice_visits, mailbox):
    sign_up(alice_visits)
    page = open_link(alice_visits, mailbox.token(DORA))
    assert page.messages == f"In this browser {alice.email} is signed in, and will be signed out by this."
    page = alice_visits.send(page, "Create the account", password=NEW)
    assert page.soup.select_one(".who span").get_text() == DORA
    assert alice.client.get("/api/me").status_code == 401


@on_sqlite
def test_looking_at_a_link_does_not_use_it_up_and_the_token_is_in_no_address(app, visitor, mailbox, caplog):
    sign_up(visitor)
    token = mailbox.token(DORA)
    assert mailbox.of(DORA)[-1]["text"].count(f"https://audiapro.example/sign-up/confirm#{token}") == 1
    before = contents(app)
    for _ in range(2):
        page = open_link(visitor, token)
    assert contents(app) == before
    assert token not in page.address
    assert page.values("Create the account")["token"] == token
    assert token not in caplog.text


@on_sqlite
def test_the_whole_link_may_be_pasted_where_no_script_runs(visitor, mailbox):
    sign_up(visitor)
    link = f" https://audiapro.example/sign-up/confirm#{mailbox.token(DORA)} "
    assert open_link(visitor, link).title == "Create Initech"


@on_sqlite
def test_an_empty_link_is_asked_for_again(visitor):
    page = visitor.send(visitor.open("/sign-up/confirm"), "Continue", 422, token="")
    assert page.errors() == {"token": "Please fill this in."}


def test_who_has_an_account_keeps_its_password_and_signs_in(app, visitor, alice, mailbox):
    sign_up(visitor, email=alice.email)
    page = open_link(visitor, mailbox.token(alice.email))
    assert page.soup.find("input", type="password") is None
    page = visitor.send(page, "Create the account")
    assert page.title == "Sign in"
    assert f"{alice.email} belongs to Initech now" in page.messages


@on_sqlite
def test_who_is_signed_in_with_that_account_chooses_where_to_go_on(alice_visits, alice, mailbox):
    sign_up(alice_visits, email=alice.email)
    page = alice_visits.send(open_link(alice_visits, mailbox.token(alice.email)), "Create the account")
    assert page.title == "Your organisations"
    assert alice_visits.send(page, "Go to Initech").soup.select_one(".tenant-name").get_text() == "Initech"


def test_a_short_name_that_was_taken_meanwhile_is_replaced_with_the_same_link(app, visitor, mailbox):
    sign_up(visitor)
    with in_database(app):
        db.session.add(Tenant(name="Faster", subdomain="initech"))
        db.session.commit()
    page = open_link(visitor, mailbox.token(DORA))
    page = visitor.send(page, "Create the account", 422, password=NEW)
    assert page.errors() == {"subdomain": "This subdomain is taken."}
    page = visitor.send(page, "Create the account", 422, password=NEW, subdomain="-")
    assert "subdomain" in page.errors()
    page = visitor.send(page, "Create the account", password=NEW, subdomain="initech-2")
    assert page.title == "Overview"
    with in_database(app):
        assert db.session.scalars(select(Tenant.name).where(Tenant.subdomain == "initech-2")).one() == "Initech"


@on_sqlite
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tenant_name", "", "Please fill this in."),
        (
            "subdomain",
            "Acme Ltd",
            "This must be 1 to 63 of a-z, 0-9 and -, with no - at either end, and not begin xn--.",
        ),
        ("subdomain", "acme", "This subdomain is taken."),
        ("subdomain", "www", "This is reserved."),
        ("email", "nobody", "This must be an e-mail address."),
        ("time_zone", "Europe/Atlantis", "This must be the name of an IANA time zone, such as Europe/Berlin."),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_the_rest_stays(app, visitor, alice, field, value, message):
    page = sign_up(visitor, 422, **{field: value})
    assert page.errors() == {field: message}
    kept = {name: typed for name, typed in INITECH.items() if name != field}
    assert kept.items() <= page.values("Send me a link").items()
    with in_database(app):
        assert db.session.scalars(select(Mail)).all() == []


@on_sqlite
@pytest.mark.parametrize("password", ["", "short", "initech2026!"])
def test_a_password_that_cannot_be_used_does_not_use_up_the_link(visitor, mailbox, password):
    sign_up(visitor)
    page = open_link(visitor, mailbox.token(DORA))
    page = visitor.send(page, "Create the account", 422, password=password)
    assert page.errors().keys() == {"password"}
    assert visitor.send(page, "Create the account", password=NEW).title == "Overview"


@on_sqlite
def test_a_link_works_once_and_says_so(app, visitor, mailbox):
    sign_up(visitor)
    token = mailbox.token(DORA)
    visitor.send(open_link(visitor, token), "Create the account", password=NEW)
    another = Visitor(app.test_client())
    page = another.send(another.open("/sign-up/confirm"), "Continue", 422, token=token)
    assert page.title == "This link does not work any more"


@on_sqlite
def test_a_name_is_shown_as_text(visitor, mailbox):
    sign_up(visitor, tenant_name=CANARY)
    page = open_link(visitor, mailbox.token(DORA))
    assert page.title == f"Create {CANARY}"
    page = visitor.send(page, "Create the account", password=NEW)
    assert page.soup.select_one(".tenant-name").get_text() == CANARY
    assert f"signed in to {CANARY}" in page.messages


@on_sqlite
def test_an_address_gets_three_mails_an_hour_from_page_and_api_together(visitor, mailbox):
    assert post(visitor.client, "/api/signup", **INITECH).status_code == 202
    for _ in range(2):
        assert sign_up(visitor).title == "Look into your mail"
    page = sign_up(visitor, 429)
    assert "Too many mails to this address" in page.messages
    assert page.values("Send me a link").items() >= INITECH.items()
    assert post(visitor.client, "/api/signup", **INITECH).status_code == 429


@on_sqlite
def test_a_form_that_was_open_before_somebody_signed_in_is_shown_again(visitor, alice):
    page = visitor.open("/sign-up")
    visitor.client.delete_cookie("audiapro")
    page = visitor.send(page, "Send me a link", **INITECH)
    assert page.title == "Create an account"
    assert page.messages.startswith("Nothing was done yet")
    assert INITECH.items() <= page.values("Send me a link").items()


@on_sqlite
def test_where_nobody_may_sign_up_there_is_no_page_for_it(app, visitor):
    app.config["SIGN_UP_OPEN"] = False
    assert visitor.open("/sign-up", 404).title == "Page not found"
    assert "ask a team for an invitation" in visitor.open("/sign-up/confirm", 403).text
    assert "/sign-up" not in str(visitor.open("/sign-in").soup)
