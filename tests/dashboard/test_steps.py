"""A session that ended, or a proof that is too old, in the middle of a form."""

from dataclasses import replace

import pyotp
import pytest
from sqlalchemy import select, update

from app.audit.models import AuditEvent
from app.dashboard.steps import NOT_KEPT
from app.database import now
from app.extensions import db
from app.identity.models import Membership, OneTimeToken, User, UserSession
from tests.conftest import PASSWORD, in_database, running
from tests.dashboard.conftest import signed_in_visitor
from tests.dashboard.test_sign_in import with_second_factor
from tests.dashboard.visitor import Visitor, buttons
from tests.identity.test_browser_sessions import join
from tests.mail.mailbox import mailbox, settings
from tests.one_time import grow_stale

__all__ = ["mailbox", "settings"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NEW = "a new password"
EMAIL = "ada@acme.example"
CANARY = '"><script>alert(1)</script>{{7*7}}'
PRESS_AGAIN = "That is not done yet: please press the button again."
PROOF = {"step-password": PASSWORD}


def end_sessions(app):
    with in_database(app):
        db.session.execute(update(UserSession).values(ended_at=now()))
        db.session.commit()


def asked_for_email_change(app):
    """What has been done with the form for a new address."""
    with in_database(app):
        return db.session.scalars(select(OneTimeToken.email)).all()


def signing_in(person, password=PASSWORD):
    return {"step-email": person.email, "step-password": password}


def email_form(visitor):
    return visitor.open("/account/email")


def send_email_form(visitor, page, email=EMAIL, **more):
    return visitor.send(page, "Send the link", email=email, **more)


class TestExpiredSession:
    def test_what_was_typed_is_kept_and_nothing_is_done_until_it_is_sent_again(self, app, alice, alice_visits, mailbox):
        page = email_form(alice_visits)
        end_sessions(app)
        page = send_email_form(alice_visits, page)
        assert (page.title, page.messages) == ("Sign in", "What you have typed is kept, except secrets.")
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert (page.title, page.address) == ("Change your e-mail address", "/account/email")
        assert page.values("Send the link")["email"] == EMAIL
        assert page.messages.startswith("Nothing was done yet: please look at what is below")
        assert asked_for_email_change(app) == []
        assert send_email_form(alice_visits, page).title == "Your account"
        assert asked_for_email_change(app) == [EMAIL]

    @on_sqlite
    def test_secrets_are_not_kept(self, app, alice, alice_visits):
        page = alice_visits.open("/account/password")
        end_sessions(app)
        page = alice_visits.send(page, "Change the password", current_password=PASSWORD, password=NEW)
        assert page.title == "Sign in"
        assert not any(secret in str(page.soup) for secret in (NEW, PASSWORD))
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.title == "Change your password"
        assert not any(secret in str(page.soup) for secret in (NEW, PASSWORD))
        assert alice_visits.send(page, "Change the password", current_password=PASSWORD, password=NEW).title == (
            "Your account"
        )

    @on_sqlite
    def test_it_is_kept_through_wrong_passwords_and_a_second_factor(self, app, alice, alice_visits, mailbox):
        secret, _ = with_second_factor(app, alice)
        page = email_form(alice_visits)
        end_sessions(app)
        page = send_email_form(alice_visits, page)
        page = alice_visits.send(page, "Sign in", 401, **signing_in(alice, "wrong"))
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.title == "Second factor"
        page = alice_visits.send(page, "Continue", 401, **{"step-code": "000000"})
        page = alice_visits.send(page, "Continue", **{"step-code": pyotp.TOTP(secret).now()})
        assert page.values("Send the link")["email"] == EMAIL
        assert asked_for_email_change(app) == []

    @on_sqlite
    def test_it_is_kept_when_a_recovery_code_is_mistyped(self, app, alice, alice_visits, mailbox):
        _, codes = with_second_factor(app, alice)
        page = email_form(alice_visits)
        end_sessions(app)
        page = alice_visits.send(send_email_form(alice_visits, page), "Sign in", **signing_in(alice))
        page = alice_visits.send(page, "Continue", 401, **{"step-code": codes[0][:-1] + "0"})
        assert page.errors() == {"step-code": "This is not right, or was used before."}
        page = alice_visits.send(page, "Continue", **{"step-code": codes[0]})
        assert page.values("Send the link")["email"] == EMAIL

    @on_sqlite
    def test_it_is_shown_as_text(self, app, alice, alice_visits):
        page = email_form(alice_visits)
        end_sessions(app)
        page = send_email_form(alice_visits, page, email=CANARY)
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.values("Send the link")["email"] == CANARY
        assert page.soup.find("script", string=True) is None

    @on_sqlite
    def test_it_is_not_shown_to_somebody_else(self, app, alice, bob, alice_visits):
        page = email_form(alice_visits)
        end_sessions(app)
        page = send_email_form(alice_visits, page)
        page = alice_visits.send(page, "Sign in", **signing_in(bob))
        assert (page.title, page.messages) == ("Overview", NOT_KEPT)
        assert EMAIL not in str(page.soup)
        assert page.soup.select_one(".who span").get_text() == bob.email
        assert asked_for_email_change(app) == []

    @on_sqlite
    def test_it_goes_on_in_the_tenant_that_it_was_for(self, app, alice, alice_visits, mailbox):
        join(app, alice, "beta")
        page = email_form(alice_visits)
        end_sessions(app)
        page = alice_visits.send(send_email_form(alice_visits, page), "Sign in", **signing_in(alice))
        assert page.values("Send the link")["email"] == EMAIL
        assert page.soup.select_one(".tenant-name").get_text() == "Acme"

    @on_sqlite
    def test_it_does_not_go_on_in_another_tenant(self, app, alice, bob, bob_visits):
        beta, _ = join(app, bob, "beta")
        page = email_form(bob_visits)
        with in_database(app):
            theirs = update(Membership).where(Membership.user_id == bob.user_id, Membership.tenant_id != beta)
            db.session.execute(theirs.values(disabled_at=now()))
            db.session.commit()
        page = bob_visits.send(send_email_form(bob_visits, page), "Sign in", **signing_in(bob))
        assert (page.title, page.messages) == ("Overview", NOT_KEPT)
        assert page.soup.select_one(".tenant-name").get_text() == "Beta"

    @on_sqlite
    def test_a_button_without_a_form_is_to_be_pressed_again(self, app, alice, alice_visits):
        page = alice_visits.open("/account")
        end_sessions(app)
        page = alice_visits.send(page, "Sign out everywhere else")
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert (page.title, page.messages) == ("Your account", PRESS_AGAIN)
        with in_database(app):
            done = select(AuditEvent).where(AuditEvent.action == "user.signed_out")
            assert db.session.scalars(done).all() == []

    @on_sqlite
    def test_nor_does_the_way_to_another_tenant_go_on_by_itself(self, app, alice, alice_visits):
        join(app, alice, "beta")
        page = alice_visits.open("/tenants")
        end_sessions(app)
        page = alice_visits.send(page, "Go to Beta")
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.messages == PRESS_AGAIN
        assert page.soup.select_one(".tenant-name").get_text() == "Acme"
        assert alice_visits.send(page, "Go to Beta").soup.select_one(".tenant-name").get_text() == "Beta"

    @on_sqlite
    def test_a_user_who_is_disabled_meanwhile_does_not_come_back(self, app, alice, alice_visits):
        page = email_form(alice_visits)
        end_sessions(app)
        page = send_email_form(alice_visits, page)
        with in_database(app):
            db.session.execute(update(User).where(User.id == alice.user_id).values(disabled_at=now()))
            db.session.commit()
        assert alice_visits.send(page, "Sign in", 401, **signing_in(alice)).title == "Sign in"


class TestProof:
    def test_a_proof_is_asked_for_in_between_and_the_filled_form_comes_back(self, app, alice, alice_visits, mailbox):
        page = email_form(alice_visits)
        grow_stale(app)
        page = send_email_form(alice_visits, page)
        assert (page.title, page.messages) == ("Is it you?", "What you have typed is kept, except secrets.")
        page = alice_visits.send(page, "Continue", 401, **{"step-password": "wrong"})
        assert page.errors() == {}
        assert "The password is not right." in page.messages
        page = alice_visits.send(page, "Continue", **PROOF)
        assert page.values("Send the link")["email"] == EMAIL
        assert asked_for_email_change(app) == []
        send_email_form(alice_visits, page)
        assert asked_for_email_change(app) == [EMAIL]

    @on_sqlite
    def test_whoever_does_not_take_the_step_is_led_out_and_told_what_is_lost(self, app, alice_visits):
        page = email_form(alice_visits)
        grow_stale(app)
        lost = "If you leave this page, what you have typed is lost."
        waiting = send_email_form(alice_visits, page)
        assert lost in waiting.text
        assert alice_visits.open(waiting.soup.find("a", string="Cancel")["href"]).title == "Your account"
        asked = alice_visits.open("/account/email")
        assert asked.title == "Is it you?"
        assert lost not in asked.text
        end_sessions(app)
        assert lost in send_email_form(alice_visits, page).text
        assert lost not in alice_visits.open("/sign-in").text

    @on_sqlite
    def test_a_form_without_fields_says_that_nothing_was_done(self, app, alice_visits):
        page = alice_visits.open("/account/leave")
        grow_stale(app)
        page = alice_visits.send(page, buttons(page.form())[0])
        page = alice_visits.send(page, "Continue", **PROOF)
        assert page.address == "/account/leave"
        assert "Nothing was done yet" in page.messages

    @on_sqlite
    def test_a_second_factor_is_a_part_of_the_proof(self, app, alice, alice_visits):
        secret, _ = with_second_factor(app, alice)
        page = email_form(alice_visits)
        grow_stale(app)
        page = send_email_form(alice_visits, page)
        page = alice_visits.send(page, "Continue", 401, **PROOF, **{"step-code": "000000"})
        assert page.errors() == {"step-code": "This is not right, or was used before."}
        page = alice_visits.send(page, "Continue", **PROOF, **{"step-code": pyotp.TOTP(secret).now()})
        assert page.values("Send the link")["email"] == EMAIL

    @on_sqlite
    def test_a_session_that_ends_during_the_proof_is_begun_anew_with_the_same_form(self, app, alice, alice_visits):
        page = email_form(alice_visits)
        grow_stale(app)
        page = send_email_form(alice_visits, page)
        end_sessions(app)
        page = alice_visits.send(page, "Continue", **PROOF)
        assert page.title == "Sign in"
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.values("Send the link")["email"] == EMAIL
        assert asked_for_email_change(app) == []

    @on_sqlite
    def test_a_password_in_the_step_is_kept_nowhere(self, app, alice_visits):
        grow_stale(app)
        page = alice_visits.open("/account/password")
        page = alice_visits.send(page, "Continue", 401, **{"step-password": "hunter2hunter2"})
        assert "hunter2hunter2" not in str(page.soup)
        with alice_visits.client.session_transaction() as cookie:
            assert "hunter2hunter2" not in str(dict(cookie))


class TestFormOfAnEarlierSession:
    @on_sqlite
    def test_of_the_same_user_in_the_same_tenant_is_shown_again(self, app, alice, alice_visits):
        page = email_form(alice_visits)
        alice_visits.send(alice_visits.open("/account"), "Sign out")
        alice_visits.send(alice_visits.open("/sign-in"), "Sign in", **signing_in(alice))
        page = send_email_form(alice_visits, page)
        assert page.title == "Change your e-mail address"
        assert "Nothing was done yet" in page.messages
        assert page.values("Send the link")["email"] == EMAIL
        assert asked_for_email_change(app) == []
        assert send_email_form(alice_visits, page).title == "Your account"

    @on_sqlite
    def test_is_kept_by_whoever_signed_out_in_another_tab_and_comes_back(self, app, alice, alice_visits):
        page = email_form(alice_visits)
        alice_visits.send(alice_visits.open("/account"), "Sign out")
        page = send_email_form(alice_visits, page)
        assert page.title == "Sign in"
        page = alice_visits.send(page, "Sign in", **signing_in(alice))
        assert page.values("Send the link")["email"] == EMAIL

    @on_sqlite
    def test_of_somebody_else_is_dropped(self, app, alice, bob, alice_visits):
        page = email_form(alice_visits)
        alice_visits.send(alice_visits.open("/account"), "Sign out")
        alice_visits.send(alice_visits.open("/sign-in"), "Sign in", **signing_in(bob))
        page = send_email_form(alice_visits, page)
        assert (page.title, page.messages) == ("Overview", NOT_KEPT)
        assert EMAIL not in str(page.soup)

    @on_sqlite
    def test_of_another_tenant_is_dropped(self, app, alice, alice_visits):
        join(app, alice, "beta")
        page, proof = email_form(alice_visits), email_form(alice_visits)
        grow_stale(app)
        proof = send_email_form(alice_visits, proof)
        alice_visits.send(alice_visits.open("/tenants"), "Go to Beta")
        for seen in (send_email_form(alice_visits, page), alice_visits.send(proof, "Continue", **PROOF)):
            assert (seen.title, seen.messages) == ("Overview", NOT_KEPT)
            assert seen.soup.select_one(".tenant-name").get_text() == "Beta"
        assert asked_for_email_change(app) == []

    @on_sqlite
    @pytest.mark.parametrize("token", [None, "", "nonsense", "csrf"])
    def test_without_a_token_of_ours_nothing_is_done_or_shown(self, app, alice, alice_visits, token):
        page = email_form(alice_visits)
        page = send_email_form(alice_visits, page, csrf_token=token)
        assert (page.title, page.messages) == ("Overview", NOT_KEPT)
        assert asked_for_email_change(app) == []

    @on_sqlite
    def test_a_token_of_somebody_elses_form_does_not_carry_input_over(self, app, alice, bob, bob_visits):
        token = email_form(bob_visits).values("Send the link")["csrf_token"]
        alice_visits = signed_in_visitor(app, alice)
        page = send_email_form(alice_visits, email_form(alice_visits), csrf_token=token)
        assert page.messages == NOT_KEPT


@on_sqlite
def test_a_browser_that_keeps_no_cookies_is_told(app, alice):
    visitor = Visitor(app.test_client(use_cookies=False))
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **signing_in(alice))
    assert "your browser keeps no cookies" in page.messages


@on_sqlite
def test_whoever_comes_to_an_installation_for_production_without_tls_is_told(settings):
    with running(replace(settings, environment="production")) as app:
        visitor = Visitor(app.test_client(use_cookies=False))
        page = visitor.send(visitor.open("/sign-in"), "Sign in", **{"step-email": EMAIL}, **PROOF)
        assert "keeps no cookies, or this address does not begin with https://: please start again." in page.messages
        page = visitor.send(visitor.open("/forgot-password"), "Send the link", email=EMAIL)
        assert "or this address does not begin with https://." in page.messages


@on_sqlite
@pytest.mark.parametrize(("address", "button"), [("/sign-up", "Send me a link"), ("/forgot-password", "Send the link")])
def test_it_is_told_so_by_public_forms_too(app, mailbox, address, button):
    app.config["SIGN_UP_OPEN"] = True
    visitor = Visitor(app.test_client(use_cookies=False))
    page = visitor.send(visitor.open(address), button, email=EMAIL)
    assert "Nothing was done yet" in page.messages
    assert "your browser keeps no cookies" in page.messages
    assert page.values(button)["email"] == EMAIL
    assert visitor.open(address).messages == ""


@on_sqlite
def test_keys_that_were_exchanged_still_tell_whose_a_form_is(app, alice, alice_visits):
    page = email_form(alice_visits)
    with alice_visits.client.session_transaction() as cookie:
        kept = dict(cookie)
    app.config["SECRET_KEY_FALLBACKS"] = [app.config["SECRET_KEY"]]
    app.config["SECRET_KEY"] = "x" * 32
    with alice_visits.client.session_transaction() as cookie:
        cookie.update(kept)
    page = send_email_form(alice_visits, page)
    assert (page.title, page.values("Send the link")["email"]) == ("Change your e-mail address", EMAIL)
