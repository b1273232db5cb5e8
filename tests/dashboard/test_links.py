"""What mailed links lead to, for those who have an account, or are invited."""

import pytest
from sqlalchemy import select, update

from app.audit.models import AuditEvent
from app.database import now
from app.extensions import db
from app.identity.models import User
from tests.conftest import PASSWORD, in_database
from tests.dashboard.visitor import Visitor
from tests.mail.mailbox import mailbox, settings
from tests.one_time import post

__all__ = ["mailbox", "settings"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

DORA = "dora@acme.example"
NEW = "a new password"


def open_link(visitor, address, token, status=200):
    return visitor.send(visitor.open(address), "Continue", status, token=token)


def ask_for_reset(visitor, email, status=200):
    return visitor.send(visitor.open("/forgot-password"), "Send the link", status, email=email)


def sign_in(visitor, email, password, status=200):
    page = visitor.open("/sign-in")
    return visitor.send(page, "Sign in", status, **{"step-email": email, "step-password": password})


class TestForgottenPassword:
    def test_a_new_password_is_set_and_every_session_ends(self, visitor, alice, alice_visits, mailbox):
        assert ask_for_reset(visitor, alice.email).title == "Look into your mail"
        page = open_link(visitor, "/reset-password", mailbox.token(alice.email))
        assert alice.email in page.text
        page = visitor.send(page, "Set the password", password=NEW)
        assert (page.title, page.messages) == ("Sign in", f"The password of {alice.email} is changed. Sign in with it.")
        assert sign_in(visitor, alice.email, PASSWORD, 401).title == "Sign in"
        assert sign_in(visitor, alice.email, NEW).title == "Overview"
        assert alice_visits.open("/overview").title == "Sign in"

    @on_sqlite
    def test_an_address_without_an_account_gets_the_same_page(self, visitor, alice, mailbox):
        pages = [ask_for_reset(visitor, email) for email in (alice.email, "unknown@acme.example")]
        assert pages[0].text == pages[1].text
        assert pages[0].address == pages[1].address
        assert mailbox.subjects("unknown@acme.example") == ["There is no account for your address"]

    @on_sqlite
    def test_what_is_no_address_is_said_beside_the_field(self, visitor):
        assert ask_for_reset(visitor, "nobody", 422).errors() == {"email": "This must be an e-mail address."}

    @on_sqlite
    def test_an_address_gets_three_mails_an_hour_from_page_and_api_together(self, visitor, alice, mailbox):
        for _ in range(3):
            ask_for_reset(visitor, alice.email)
        page = ask_for_reset(visitor, alice.email, 429)
        assert "Too many mails" in page.messages
        assert page.values("Send the link")["email"] == alice.email
        assert post(visitor.client, "/api/password-reset", email=alice.email).status_code == 429

    @on_sqlite
    def test_a_password_that_cannot_be_used_does_not_use_up_the_link(self, visitor, alice, mailbox):
        ask_for_reset(visitor, alice.email)
        page = open_link(visitor, "/reset-password", mailbox.token(alice.email))
        for unfit in ("", "short", "acme2026!"):
            page = visitor.send(page, "Set the password", 422, password=unfit)
            assert page.errors().keys() == {"password"}
        assert visitor.send(page, "Set the password", password=NEW).title == "Sign in"

    @on_sqlite
    def test_a_void_link_says_where_to_get_another(self, visitor, alice, mailbox):
        ask_for_reset(visitor, alice.email)
        first = mailbox.token(alice.email)
        seen = open_link(visitor, "/reset-password", first)
        ask_for_reset(visitor, alice.email)
        assert visitor.send(seen, "Set the password", 422, password=NEW).title == "This link does not work any more"
        page = open_link(visitor, "/reset-password", first, 422)
        assert page.soup.main.find("a", string="Ask for another link")["href"] == "/forgot-password"
        assert open_link(visitor, "/verify-email", mailbox.token(alice.email), 422).title == seen_title(page)

    @on_sqlite
    def test_where_somebody_else_is_signed_in_it_says_whose_it_is(self, alice, bob, bob_visits, mailbox):
        ask_for_reset(bob_visits, alice.email)
        page = open_link(bob_visits, "/reset-password", mailbox.token(alice.email))
        page = bob_visits.send(page, "Set the password", password=NEW)
        assert (page.title, page.address) == ("Somebody else is signed in here", "/somebody-else")
        assert page.messages == f"The password of {alice.email} is changed. Sign in with it."
        assert bob.email in page.text
        assert bob_visits.open("/overview").title == "Overview"
        page = bob_visits.send(page, "Sign out, and sign in as the other")
        assert page.title == "Sign in"
        assert bob_visits.open("/somebody-else").title == "Sign in"

    @on_sqlite
    def test_a_form_of_another_session_shows_what_it_is_about_and_does_nothing(self, visitor, alice, mailbox):
        ask_for_reset(visitor, alice.email)
        page = open_link(visitor, "/reset-password", mailbox.token(alice.email))
        visitor.client.delete_cookie("audiapro")
        page = visitor.send(page, "Set the password", password=NEW)
        assert page.title == "Set a new password"
        assert page.messages.startswith("Nothing was done yet")
        assert sign_in(visitor, alice.email, PASSWORD).title == "Overview"


def seen_title(page):
    return page.title


class TestInvitation:
    def invite(self, alice, email, role="admin"):
        assert post(alice.client, "/api/invitations", email=email, role=role).status_code == 201

    def test_who_has_no_account_chooses_a_password_and_is_signed_in(self, visitor, alice, mailbox):
        self.invite(alice, DORA)
        page = open_link(visitor, "/accept-invitation", mailbox.token(DORA))
        assert page.title == "Join Acme"
        assert page.all("dd") == [alice.email, DORA, "admin"]
        page = visitor.send(page, "Accept the invitation", password=NEW)
        assert (page.title, page.soup.select_one(".tenant-role").get_text()) == ("Overview", "admin")
        assert page.soup.select_one(".who span").get_text() == DORA

    def test_who_has_one_keeps_its_password(self, visitor, alice, charlie, charlie_visits, mailbox):
        self.invite(alice, charlie.email)
        page = open_link(visitor, "/accept-invitation", mailbox.token(charlie.email))
        assert page.soup.find("input", type="password") is None
        page = visitor.send(page, "Accept the invitation")
        assert page.title == "Sign in"
        assert f"{charlie.email} belongs to Acme now" in page.messages
        assert "Acme" in charlie_visits.open("/tenants").text

    @on_sqlite
    def test_an_account_that_was_opened_meanwhile_keeps_its_password(self, app, visitor, alice, mailbox, password_hash):
        self.invite(alice, DORA)
        page = open_link(visitor, "/accept-invitation", mailbox.token(DORA))
        with in_database(app):
            db.session.add(User(email=DORA, password_hash=password_hash))
            db.session.commit()
        assert visitor.send(page, "Accept the invitation", password=NEW).title == "Sign in"
        assert sign_in(visitor, DORA, NEW, 401).title == "Sign in"
        assert sign_in(visitor, DORA, PASSWORD).title == "Overview"

    @on_sqlite
    def test_without_a_password_nobody_gets_an_account(self, visitor, alice, mailbox):
        self.invite(alice, DORA)
        page = open_link(visitor, "/accept-invitation", mailbox.token(DORA))
        page = visitor.send(page, "Accept the invitation", 422, password="")
        assert page.errors() == {"password": "Please fill this in."}

    @on_sqlite
    def test_whoever_was_signed_in_with_the_browser_is_not_any_more(self, app, alice, bob, bob_visits, mailbox):
        self.invite(alice, DORA)
        page = open_link(bob_visits, "/accept-invitation", mailbox.token(DORA))
        told = f"In this browser {bob.email} is signed in, and will be signed out by this."
        assert page.messages == told
        page = bob_visits.send(page, "Accept the invitation", 422, password="short")
        assert told in page.messages
        page = bob_visits.send(page, "Accept the invitation", password=NEW)
        assert page.soup.select_one(".who span").get_text() == DORA
        assert bob.client.get("/api/me").status_code == 401
        with in_database(app):
            ended = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.ended")).one()
        assert (ended.actor_id, ended.object_id) == (bob.user_id, bob.session_id)

    @on_sqlite
    def test_nobody_is_told_so_who_is_not_signed_in_or_stays_that(self, visitor, alice, bob_visits, charlie, mailbox):
        self.invite(alice, DORA)
        assert open_link(visitor, "/accept-invitation", mailbox.token(DORA)).messages == ""
        self.invite(alice, charlie.email)
        assert open_link(bob_visits, "/accept-invitation", mailbox.token(charlie.email)).messages == ""

    @on_sqlite
    def test_a_void_invitation_says_whom_to_ask(self, app, visitor, alice, mailbox):
        self.invite(alice, DORA)
        with in_database(app):
            db.session.execute(update(User).where(User.id == alice.user_id).values(disabled_at=now()))
            db.session.commit()
        page = open_link(visitor, "/accept-invitation", mailbox.token(DORA), 422)
        assert "ask whoever invited you" in page.text


class TestEmailChange:
    def test_the_address_changes_when_its_owner_says_so(self, visitor, alice, alice_visits, mailbox):
        page = alice_visits.send(alice_visits.open("/account/email"), "Send the link", email="Ada@acme.example")
        assert (page.title, "on its way to ada@acme.example" in page.messages) == ("Your account", True)
        page = open_link(visitor, "/verify-email", mailbox.token("ada@acme.example"))
        assert page.all("dd") == [alice.email, "ada@acme.example"]
        assert "alice@acme.example" in alice_visits.open("/account").text
        page = visitor.send(page, "Change the address")
        assert page.title == "Sign in"
        assert "ada@acme.example" in alice_visits.open("/account").text
        assert sign_in(visitor, "ada@acme.example", PASSWORD).title == "Overview"

    @on_sqlite
    def test_who_is_signed_in_gets_back_to_the_account(self, alice_visits, mailbox):
        alice_visits.send(alice_visits.open("/account/email"), "Send the link", email="ada@acme.example")
        page = open_link(alice_visits, "/verify-email", mailbox.token("ada@acme.example"))
        assert alice_visits.send(page, "Change the address").title == "Your account"

    @on_sqlite
    def test_an_address_that_another_account_has_by_now_is_refused(self, app, visitor, alice_visits, bob, mailbox):
        alice_visits.send(alice_visits.open("/account/email"), "Send the link", email=bob.email)
        page = open_link(visitor, "/verify-email", mailbox.token(bob.email))
        page = visitor.send(page, "Change the address", 422)
        assert page.messages == "Another account has this e-mail address."


@on_sqlite
@pytest.mark.parametrize("address", ["/sign-up/confirm", "/accept-invitation", "/reset-password", "/verify-email"])
def test_what_a_link_leads_to_takes_its_token_by_script_and_is_kept_nowhere(app, address):
    visitor = Visitor(app.test_client())
    page = visitor.open(address)
    assert page.soup.find("input", attrs={"name": "token", "data-link-token": True})
    assert page.response.headers["Cache-Control"] == "no-store"
    assert open_link(visitor, address, "x" * 43, 422).title == "This link does not work any more"
