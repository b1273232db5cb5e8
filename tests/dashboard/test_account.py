"""One's own account: what one signs in with, where one is signed in, and where one belongs to."""

import re
from datetime import timedelta
from uuid import uuid4

import pyotp
import pytest
from limits import parse
from sqlalchemy import func, select, update

from app.audit.models import AuditEvent
from app.dashboard.browsers import browser_of
from app.database import now
from app.extensions import db
from app.identity import sessions
from app.identity.models import Membership, Role, User, UserSession
from app.limits.limit import Limit
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database
from tests.dashboard.conftest import signed_in_visitor
from tests.dashboard.visitor import Visitor
from tests.identity.test_browser_sessions import join
from tests.mail.mailbox import mailbox, settings
from tests.one_time import contents, grow_stale, post, statements

__all__ = ["mailbox", "settings"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NEW = "a new password"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
CANARY = "<script>alert(1)</script>{{7*7}}"


def visitor_signs_in(app, email, password=PASSWORD, code=None, status=200):
    visitor = Visitor(app.test_client())
    page = visitor.open("/sign-in")
    page = visitor.send(page, "Sign in", 200 if code else status, **{"step-email": email, "step-password": password})
    return visitor.send(page, "Continue", status, **{"step-code": code}) if code else page


def start_session(app, person, user_agent="", address=None):
    with in_database(app):
        membership = db.session.scalars(select(Membership).where(Membership.user_id == person.user_id)).first()
        return sessions.start(db.session(), membership, address, user_agent).id


def actions(app):
    with in_database(app):
        return db.session.scalars(select(AuditEvent.action)).all()


class TestPassword:
    def change(self, visitor, current=PASSWORD, password=NEW, status=200):
        page = visitor.open("/account/password")
        return visitor.send(page, "Change the password", status, current_password=current, password=password)

    def test_it_is_changed_and_only_this_session_goes_on(self, app, alice, alice_visits, mailbox):
        another = start_session(app, alice)
        page = self.change(alice_visits)
        assert page.title == "Your account"
        assert "signed out everywhere but here" in page.messages
        assert alice_visits.open("/overview").title == "Overview"
        with in_database(app):
            assert db.session.get_one(UserSession, another).ended_at is not None
        assert visitor_signs_in(app, alice.email, PASSWORD, status=401).title == "Sign in"
        assert visitor_signs_in(app, alice.email, NEW).title == "Overview"
        assert mailbox.subjects(alice.email) == ["Your password was changed"]

    @on_sqlite
    def test_what_is_wrong_is_said_beside_the_field_and_no_password_stays(self, app, alice, alice_visits):
        page = self.change(alice_visits, current="wrong", status=422)
        assert page.errors() == {"current_password": "This is not right."}
        assert "wrong" not in str(page.soup)
        assert "session.refused" in actions(app)
        assert self.change(alice_visits, password="short", status=422).errors().keys() == {"password"}
        assert self.change(alice_visits, password="", status=422).errors() == {"password": "Please fill this in."}
        assert visitor_signs_in(app, alice.email, PASSWORD).title == "Overview"

    @on_sqlite
    def test_too_many_attempts_leave_the_form_and_say_when(self, app, alice_visits, monkeypatch):
        rates = app.extensions["rates"] | {Limit.SIGN_IN: parse("1 per hour")}
        with monkeypatch.context() as patch:
            patch.setitem(app.extensions, "rates", rates)
            self.change(alice_visits, current="wrong", status=422)
            page = self.change(alice_visits, status=429)
        assert page.title == "Change your password"
        assert re.search(r"Too many requests: wait before trying again\. Try again in \d+ minutes\.", page.messages)
        assert int(page.response.headers["Retry-After"]) > 0
        assert PASSWORD not in str(page.soup)
        page = alice_visits.send(page, "Change the password", current_password=PASSWORD, password=NEW)
        assert page.title == "Your account"


class TestEmail:
    @on_sqlite
    @pytest.mark.parametrize(
        ("email", "message"),
        [
            ("", "Please fill this in."),
            ("nobody", "This must be an e-mail address."),
            ("Alice@acme.example", "This is your address already."),
            (CANARY, "This must be an e-mail address."),
        ],
    )
    def test_what_is_wrong_is_said_beside_the_field(self, alice_visits, mailbox, email, message):
        page = alice_visits.send(alice_visits.open("/account/email"), "Send the link", 422, email=email)
        assert page.errors() == {"email": message}
        assert page.values("Send the link")["email"] == email

    @on_sqlite
    def test_an_address_gets_three_mails_an_hour_from_page_and_api_together(self, alice, alice_visits, mailbox):
        for _ in range(3):
            alice_visits.send(alice_visits.open("/account/email"), "Send the link", email="ada@acme.example")
        page = alice_visits.send(alice_visits.open("/account/email"), "Send the link", 429, email="ada@acme.example")
        assert page.values("Send the link")["email"] == "ada@acme.example"
        assert "Too many mails to this address" in page.messages
        assert int(page.response.headers["Retry-After"]) > 0
        assert post(alice.client, "/api/me/email", email="ada@acme.example").status_code == 429


class TestSecondFactor:
    def begin(self, visitor):
        page = visitor.send(visitor.open("/account/second-factor"), "Show the QR code")
        return page, page.soup.find(id="totp-secret").get_text()

    def add(self, visitor):
        page, secret = self.begin(visitor)
        page = visitor.send(page, "Switch it on", code=pyotp.TOTP(secret).at(now() - timedelta(seconds=30)))
        return page, secret, page.soup.find(id="recovery-codes").get_text().split()

    def test_it_is_added_with_an_app_and_recovery_codes_that_are_shown_once(self, app, alice, alice_visits):
        another = start_session(app, alice)
        page, secret, codes = self.add(alice_visits)
        assert page.title == "Your recovery codes"
        assert (len(codes), len(set(codes))) == (10, 10)
        assert page.soup.find("button", attrs={"data-copy": "recovery-codes"})
        page = alice_visits.open("/account")
        assert "on since" in page.text
        assert "10 left" in page.text
        assert not any(hidden in str(page.soup) for hidden in (secret, *codes))
        assert alice_visits.client.get("/account/recovery-codes").text.count(codes[0]) == 0
        with in_database(app):
            assert db.session.get_one(UserSession, another).ended_at is not None
        assert visitor_signs_in(app, alice.email, code=pyotp.TOTP(secret).now()).title == "Overview"
        assert visitor_signs_in(app, alice.email, code=codes[0]).title == "Overview"

    @on_sqlite
    def test_the_qr_code_is_a_picture_and_stays_until_a_code_of_it_was_right(self, alice_visits):
        page, secret = self.begin(alice_visits)
        picture = page.soup.find("img", class_="qr")["src"]
        assert picture.startswith("data:image/svg+xml")
        page = alice_visits.send(page, "Switch it on", 422, code="000000")
        assert page.errors()["code"].startswith("This is not what the app shows now")
        assert page.soup.find(id="totp-secret").get_text() == secret
        assert page.soup.find("img", class_="qr")["src"] == picture
        again = alice_visits.open("/account/second-factor/confirm")
        assert secret not in str(again.soup)
        assert again.soup.find("img", class_="qr") is None
        sent = page
        page = alice_visits.send(sent, "Switch it on", code=pyotp.TOTP(secret).now())
        assert page.title == "Your recovery codes"
        assert secret not in str(page.soup)
        assert secret not in str(alice_visits.send(sent, "Switch it on", code="000000").soup)

    @on_sqlite
    def test_too_many_codes_leave_it_too_and_say_when(self, app, alice_visits, monkeypatch):
        rates = app.extensions["rates"] | {Limit.SIGN_IN_FAILURES: parse("1 per hour")}
        page, secret = self.begin(alice_visits)
        with monkeypatch.context() as patch:
            patch.setitem(app.extensions, "rates", rates)
            page = alice_visits.send(page, "Switch it on", 422, code="000000")
            page = alice_visits.send(page, "Switch it on", 429, code=pyotp.TOTP(secret).now())
        assert re.search(r"Too many wrong codes of this account.* Try again in \d+ minutes\.", page.messages)
        assert page.soup.find(id="totp-secret").get_text() == secret
        assert page.soup.find("img", class_="qr")
        assert alice_visits.send(page, "Switch it on", code=pyotp.TOTP(secret).now()).title == "Your recovery codes"

    @on_sqlite
    def test_the_page_that_explains_it_makes_no_secret(self, app, alice_visits):
        before = contents(app)
        alice_visits.open("/account/second-factor")
        assert contents(app) == before

    @on_sqlite
    def test_without_a_secret_there_is_nothing_to_confirm(self, alice_visits):
        page = alice_visits.open("/account/second-factor/confirm")
        page = alice_visits.send(page, "Switch it on", 422, code="123456")
        assert page.messages == "There is no second factor that waits to be confirmed."

    @on_sqlite
    def test_where_there_is_one_no_other_is_added(self, alice_visits):
        self.add(alice_visits)
        page = alice_visits.send(alice_visits.open("/account/second-factor"), "Show the QR code")
        assert (page.title, page.messages) == (
            "Your account",
            "There is a second factor already: remove it first.",
        )

    @on_sqlite
    def test_recovery_codes_are_renewed(self, app, alice, alice_visits):
        _, _, codes = self.add(alice_visits)
        page = alice_visits.send(alice_visits.open("/account/recovery-codes"), "Make new codes")
        renewed = page.soup.find(id="recovery-codes").get_text().split()
        assert not set(renewed) & set(codes)
        assert visitor_signs_in(app, alice.email, code=codes[0], status=401).title == "Second factor"
        assert visitor_signs_in(app, alice.email, code=renewed[0]).title == "Overview"
        assert "9 left" in alice_visits.open("/account").text

    @on_sqlite
    def test_without_a_second_factor_there_are_no_codes_to_renew(self, alice_visits):
        page = alice_visits.send(alice_visits.open("/account/recovery-codes"), "Make new codes", 422)
        assert page.messages == "There is no second factor: recovery codes come with it."

    @on_sqlite
    def test_it_is_removed_after_a_page_that_says_what_that_means(self, app, alice, alice_visits, mailbox):
        self.add(alice_visits)
        page = alice_visits.open("/account/second-factor/remove")
        assert "password alone will be enough" in page.text
        page = alice_visits.send(page, "Remove the second factor")
        assert page.title == "Your account"
        assert visitor_signs_in(app, alice.email).title == "Overview"
        assert mailbox.subjects(alice.email) == ["Two-factor authentication was switched off"]


class TestSessions:
    def test_they_are_listed_with_where_when_and_with_what(self, app, alice, alice_visits):
        start_session(app, alice, FIREFOX, "198.51.100.7")
        start_session(app, alice, CANARY)
        rows = alice_visits.open("/account").all("tbody tr")
        assert len(rows) == 3
        assert CANARY in rows[0]
        assert "Firefox on Linux" in rows[1]
        assert "198.51.100.7" in rows[1]
        assert "this one" in rows[2]

    def test_one_is_ended_and_the_rest_go_on(self, app, alice, alice_visits):
        ended, kept = (start_session(app, alice, FIREFOX) for _ in range(2))
        page = alice_visits.open("/account")
        form = next(form for form in page.soup.find_all("form") if str(ended) in form.get("action"))
        values = {"csrf_token": form.find("input")["value"]}
        assert alice_visits.client.post(form["action"], data=values).status_code == 303
        with in_database(app):
            assert db.session.get_one(UserSession, ended).ended_at is not None
            assert db.session.get_one(UserSession, kept).ended_at is None
        assert "That session is signed out." in alice_visits.open("/account").messages

    def test_all_others_are_ended(self, app, alice, bob, alice_visits):
        start_session(app, alice)
        page = alice_visits.send(alice_visits.open("/account"), "Sign out everywhere else")
        assert page.all("tbody tr")[0].endswith("this one")
        assert len(page.all("tbody tr")) == 1
        assert bob.client.get("/api/me").status_code == 200
        assert "user.signed_out" in actions(app)

    def test_signing_out_everywhere_ends_this_one_too(self, app, alice, alice_visits):
        page = alice_visits.send(alice_visits.open("/account"), "Sign out everywhere")
        assert (page.title, page.messages) == ("Sign in", "You are signed out everywhere.")
        assert alice_visits.open("/account").title == "Sign in"
        assert alice.client.get("/api/me").status_code == 401

    @on_sqlite
    def test_nobody_ends_anothers(self, app, alice, bob, bob_visits, charlie_visits):
        for visitor in (bob_visits, charlie_visits):
            token = visitor.open("/account").soup.find("input", attrs={"name": "csrf_token"})["value"]
            answer = visitor.client.post(f"/account/sessions/{alice.session_id}/end", data={"csrf_token": token})
            assert answer.status_code == 404
        assert alice.client.get("/api/me").status_code == 200

    @on_sqlite
    def test_however_many_there_are_the_page_takes_the_same_statements(self, app, alice, alice_visits):
        counts = []
        for more in (0, 50):
            for _ in range(more):
                start_session(app, alice, FIREFOX)
            with statements(app) as seen:
                page = alice_visits.open("/account")
            counts.append(len(seen))
        assert counts[0] == counts[1] <= 12
        assert len(page.all("tbody tr")) == 20
        older = alice_visits.open("/account?" + page.soup.find("a", rel="next")["href"].partition("?")[2])
        assert len(older.all("tbody tr")) == 20
        assert "not valid" in alice_visits.open("/account?cursor=nonsense", 422).text


class TestLeaving:
    def test_a_member_leaves_and_is_signed_out(self, app, bob, bob_visits):
        page = bob_visits.open("/account/leave")
        assert page.title == "Leave Acme?"
        page = bob_visits.send(page, "Leave Acme")
        assert (page.title, page.messages) == ("Sign in", "You have left Acme.")
        assert bob.client.get("/api/me").status_code == 401
        with in_database(app):
            assert db.session.scalar(select(func.count()).where(Membership.user_id == bob.user_id)) == 0
            assert db.session.get_one(User, bob.user_id).disabled_at is None

    def test_the_last_owner_stays(self, alice_visits):
        page = alice_visits.send(alice_visits.open("/account/leave"), "Leave Acme", 422)
        assert page.messages == "This is the organisation's last owner: make somebody else an owner first."


class TestTenants:
    def test_who_belongs_to_one_alone_is_told_so(self, alice_visits):
        page = alice_visits.open("/tenants")
        assert "You belong to this one alone." in page.text
        assert page.soup.main.find("form") is None

    def test_going_to_another_ends_the_session_in_the_one_before_and_is_as_fresh(self, app, alice, alice_visits):
        beta, _ = join(app, alice, "beta")
        long_ago = now() - timedelta(hours=3)
        with in_database(app):
            stale = update(UserSession).where(UserSession.id == alice.session_id).values(authenticated_at=long_ago)
            db.session.execute(stale)
            db.session.commit()
        page = alice_visits.send(alice_visits.open("/tenants"), "Go to Beta")
        assert (page.title, page.soup.select_one(".tenant-name").get_text()) == ("Overview", "Beta")
        assert alice.client.get("/api/me").status_code == 401
        with in_database(app):
            started = db.session.scalars(select(UserSession).where(UserSession.tenant_id == beta)).one()
            assert started.authenticated_at == long_ago
        assert alice_visits.open("/account/password").title == "Is it you?"
        page = alice_visits.send(alice_visits.open("/tenants"), "Go to Acme")
        assert page.soup.select_one(".tenant-name").get_text() == "Acme"

    @on_sqlite
    def test_nobody_goes_where_they_do_not_belong(self, app, alice, charlie, alice_visits):
        _, left = join(app, alice, "left")
        with in_database(app):
            disabled = update(Membership).where(Membership.id == left).values(disabled_at=now())
            db.session.execute(disabled)
            db.session.commit()
            left_tenant = db.session.get_one(Membership, left).tenant_id
        token = alice_visits.open("/account").soup.find("input", attrs={"name": "csrf_token"})["value"]
        for tenant_id in (charlie.tenant_id, left_tenant, uuid4()):
            answer = alice_visits.client.post(f"/tenants/{tenant_id}", data={"csrf_token": token})
            assert answer.status_code == 404
        assert alice_visits.open("/overview").soup.select_one(".tenant-name").get_text() == "Acme"

    @on_sqlite
    def test_an_organisations_name_is_shown_as_text(self, app, alice, alice_visits):
        with in_database(app):
            db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(name=CANARY))
            db.session.commit()
        for address in ("/account", "/tenants"):
            page = alice_visits.open(address)
            assert CANARY in page.text
            assert page.soup.find("script", string=True) is None


@on_sqlite
@pytest.mark.parametrize(
    "address",
    [
        "/account/email",
        "/account/password",
        "/account/leave",
        "/account/second-factor",
        "/account/second-factor/confirm",
        "/account/second-factor/remove",
        "/account/recovery-codes",
    ],
)
def test_whatever_changes_how_one_signs_in_needs_a_fresh_proof_before_anything_is_typed(
    app, alice, bob_visits, address
):
    grow_stale(app)
    page = bob_visits.open(address)
    assert page.title == "Is it you?"
    page = bob_visits.send(page, "Continue", **{"step-password": PASSWORD})
    assert page.address == address
    assert page.title != "Is it you?"


@on_sqlite
@pytest.mark.parametrize("role", list(Role))
def test_everybody_has_an_account_whatever_their_role(app, bob, role):
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role=role))
        db.session.commit()
    page = signed_in_visitor(app, bob).open("/account")
    assert page.soup.select_one("#menu [aria-current=page]").get_text(strip=True) == "Your account"
    assert role in page.text


@pytest.mark.parametrize(
    ("user_agent", "shown"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131 Safari/537",
            "Chrome on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131 Safari/537 Edg/131.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605 (KHTML) Version/18.1 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.14", "curl/8.14"),
        ("", "unknown"),
    ],
)
def test_a_browser_is_called_what_people_call_it(user_agent, shown):
    assert browser_of(user_agent) == shown
