"""In and out, and steps in between."""

from datetime import timedelta
from urllib.parse import quote

import pyotp
import pytest
from sqlalchemy import select, update

from app.audit.models import AuditEvent
from app.database import now
from app.extensions import db
from app.identity import second_factor, signing_out, users
from app.identity.models import Membership, Role, SignInAllowance, User, UserSession
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database

PASSWORD_FIELDS = {"step-password": PASSWORD}


def credentials(person, password=PASSWORD):
    return {"step-email": person.email, "step-password": password}


def test_a_stranger_is_asked_to_sign_in_and_gets_where_they_wanted(visitor, alice):
    page = visitor.open("/overview?days=7")
    assert page.title == "Sign in"
    page = visitor.send(page, "Sign in", **credentials(alice))
    assert (page.title, page.address) == ("Overview", "/overview?days=7")


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "/\\evil.example", "https://evil.example", "/\tx", "javascript:1"]
)
def test_nobody_is_led_to_another_site(visitor, alice, elsewhere):
    page = visitor.open(f"/sign-in?next={quote(elsewhere)}")
    assert visitor.send(page, "Sign in", **credentials(alice)).title == "Overview"


def test_a_wrong_password_and_an_unknown_account_get_the_same_page(visitor, alice):
    answers = set()
    for email in (alice.email, "nobody@acme.example"):
        page = visitor.send(visitor.open("/sign-in"), "Sign in", 401, **{"step-email": email, "step-password": "wrong"})
        assert page.values("Sign in")["step-email"] == email
        answers.add((page.title, page.messages))
    assert answers == {("Sign in", "The e-mail address or the password is not right.")}


def test_empty_fields_say_so(visitor):
    page = visitor.send(visitor.open("/sign-in"), "Sign in")
    assert page.errors() == {"step-email": "Please fill this in.", "step-password": "Please fill this in."}


def test_too_many_attempts_are_told_and_recorded(app, visitor, alice):
    with in_database(app):
        db.session.execute(update(UserSession).values(started_at=now() - timedelta(days=60)))
        db.session.commit()
    for _ in range(10):
        visitor.send(visitor.open("/sign-in"), "Sign in", 401, **credentials(alice, "wrong"))
    page = visitor.send(visitor.open("/sign-in"), "Sign in", 429, **credentials(alice))
    assert "Too many requests" in page.text


def with_second_factor(app, person):
    with in_database(app):
        secret = second_factor.begin(db.session(), person.user_id).secret
        code = pyotp.TOTP(secret).at(now() - timedelta(seconds=30))
        codes = second_factor.confirm(db.session(), person.user_id, code, person.session_id)
    return secret, codes


def test_a_second_factor_is_asked_for_on_a_screen_of_its_own(app, visitor, alice):
    secret, _ = with_second_factor(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    assert page.title == "Second factor"
    page = visitor.send(page, "Continue", 401, **{"step-code": "000000"})
    assert page.errors() == {"step-code": "This is not right, or was used before."}
    page = visitor.send(page, "Continue", **{"step-code": pyotp.TOTP(secret).now()})
    assert page.title == "Overview"
    with in_database(app):
        assert db.session.scalars(select(SignInAllowance)).all() == []
        started = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.started")).all()
        refused = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.refused")).all()
    assert [event.details for event in refused] == [{"account": alice.email, "reason": "wrong code"}]
    assert {} in [event.details for event in started]


def test_a_recovery_code_signs_in_once_and_is_recorded(app, visitor, alice):
    _, codes = with_second_factor(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    assert visitor.send(page, "Continue", **{"step-code": codes[0]}).title == "Overview"
    page = visitor.send(visitor.open("/overview"), "Sign out")
    page = visitor.send(page, "Sign in", **credentials(alice))
    assert visitor.send(page, "Continue", 401, **{"step-code": codes[0]}).title == "Second factor"
    with in_database(app):
        started = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.started")).all()
    assert {"recovery_code": True} in [event.details for event in started]


def test_a_password_that_is_changed_before_the_code_comes_is_not_enough(app, visitor, alice, password_hash):
    secret, _ = with_second_factor(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    with in_database(app):
        db.session.execute(update(User).values(password_hash=password_hash + " "))
        db.session.commit()
    page = visitor.send(page, "Continue", 401, **{"step-code": pyotp.TOTP(secret).now()})
    assert page.title == "Sign in"


def test_who_belongs_to_several_tenants_chooses_one(app, visitor, alice):
    with in_database(app):
        tenant = db.session.scalars(select(Tenant).where(Tenant.subdomain == "others")).one()
        user = db.session.get_one(User, alice.user_id)
        db.session.add(Membership(user=user, tenant=tenant, role=Role.MEMBER))
        db.session.commit()
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    assert page.title == "Choose where to go"
    page = visitor.send(page, "Continue", **{"step-tenant": "others"})
    assert page.title == "Overview"
    assert page.soup.select_one(".tenant-name").get_text() == "Others"


def test_who_belongs_to_no_tenant_is_refused_as_if_the_password_were_wrong(app, visitor, alice):
    with in_database(app):
        db.session.execute(update(Membership).values(disabled_at=now()))
        db.session.commit()
    page = visitor.send(visitor.open("/sign-in"), "Sign in", 401, **credentials(alice))
    assert page.messages == "The e-mail address or the password is not right."


def test_signing_out_ends_the_session_and_forgets_what_was_seen(app, alice_visits, alice):
    answer = alice_visits.client.post("/sign-out", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert alice_visits.open("/overview").title == "Sign in"
    assert alice.client.get("/api/me").status_code == 401


def test_a_cookie_is_as_strict_as_browsers_allow(visitor):
    sent = visitor.client.get("/sign-in").headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(sent.split("; "))


def test_a_form_of_another_site_does_nothing(alice_visits, alice):
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        assert alice_visits.client.post("/sign-out", headers=headers).status_code == 403
    assert alice.client.get("/api/me").status_code == 200


def test_neither_a_token_of_the_api_opens_a_page_nor_the_cookie_the_api(app, alice, alice_visits):
    assert alice.client.get("/overview").status_code == 303
    assert alice_visits.client.get("/api/me").status_code == 401


def test_an_ended_session_and_a_demotion_count_with_the_next_page(app, alice_visits):
    with in_database(app):
        db.session.execute(update(UserSession).values(ended_at=now()))
        db.session.commit()
    assert alice_visits.open("/overview").title == "Sign in"


def of_two_tenants(app, person):
    with in_database(app):
        tenant = db.session.scalars(select(Tenant).where(Tenant.subdomain == "others")).one()
        db.session.add(Membership(user=db.session.get_one(User, person.user_id), tenant=tenant, role=Role.MEMBER))
        db.session.commit()


def test_a_sign_in_under_way_begins_one_session_and_no_second(app, visitor, alice):
    of_two_tenants(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    under_way = visitor.client.get_cookie("audiapro").value
    assert visitor.send(page, "Continue", **{"step-tenant": "acme"}).title == "Overview"
    visitor.send(visitor.open("/overview"), "Sign out")
    visitor.client.set_cookie("audiapro", under_way)
    assert visitor.send(page, "Continue", 401, **{"step-tenant": "acme"}).title == "Sign in"


def test_a_second_factor_that_is_added_meanwhile_is_asked_for(app, visitor, alice):
    of_two_tenants(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    with_second_factor(app, alice)
    assert visitor.send(page, "Continue", 401, **{"step-tenant": "acme"}).title == "Sign in"


@pytest.mark.parametrize("screen", ["code", "tenant"])
@pytest.mark.parametrize("what", ["signed out", "tenant signed out", "everybody signed out", "other factor", "enabled"])
def test_a_sign_in_under_way_ends_with_all_sessions(app, visitor, alice, what, screen):
    """Also where there was no session to end."""
    of_two_tenants(app, alice)
    secret, codes = with_second_factor(app, alice)
    with in_database(app):
        signing_out.end(db.session(), alice.user_id, alice.session_id)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    if screen == "tenant":
        page = visitor.send(page, "Continue", **{"step-code": codes[0]})
    with in_database(app):
        if what == "signed out":
            signing_out.end_of_user(db.session(), alice.user_id)
        elif what == "tenant signed out":
            signing_out.end_of_tenant(db.session(), alice.tenant_id)
        elif what == "everybody signed out":
            signing_out.end_of_everybody(db.session())
        elif what == "other factor":
            second_factor.remove(db.session(), alice.user_id)
            secret = second_factor.begin(db.session(), alice.user_id).secret
            code = pyotp.TOTP(secret).at(now() - timedelta(seconds=30))
            second_factor.confirm(db.session(), alice.user_id, code, alice.session_id)
        else:
            db.session.execute(update(Membership).values(role=Role.OWNER))  # somebody has to stay
            users.set_disabled(db.session(), alice.email, disabled=True)
            users.set_disabled(db.session(), alice.email, disabled=False)
    proof = {"step-tenant": "acme"} if screen == "tenant" else {"step-code": pyotp.TOTP(secret).now()}
    page = visitor.send(page, "Continue", 401, **proof)
    assert (page.title, page.messages) == ("Sign in", "Please sign in again.")
    with in_database(app):
        alive = select(UserSession).join(UserSession.membership).where(Membership.user_id == alice.user_id)
        assert db.session.scalars(alive.where(UserSession.ended_at.is_(None))).all() == []


def test_ending_one_session_leaves_a_sign_in_under_way_alone(app, visitor, alice, alice_visits):
    of_two_tenants(app, alice)
    page = visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    alice_visits.send(alice_visits.open("/account"), "Sign out")
    assert visitor.send(page, "Continue", **{"step-tenant": "acme"}).title == "Overview"


def test_a_right_password_without_the_code_is_in_the_audit_trail(app, visitor, alice):
    with_second_factor(app, alice)
    visitor.send(visitor.open("/sign-in"), "Sign in", **credentials(alice))
    with in_database(app):
        events = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.password_accepted")).all()
    assert [(event.actor_type, event.object_id) for event in events] == [("anonymous", alice.user_id)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestWhatNoBrowserSends:
    def test_text_without_end_is_refused_before_it_is_looked_at(self, visitor):
        for field in ("step-email", "step-password"):
            typed = {"step-email": "a@b.example", "step-password": "x"} | {field: "\u0323\u0301" * 2_000}
            page = visitor.send(visitor.open("/sign-in"), "Sign in", **typed)
            assert "too long" in page.errors()[field]

    def test_more_than_a_form_holds_is_refused(self, client):
        answer = client.post("/sign-in", data={"step-password": "x" * 200_000}, headers={"Accept": "text/html"})
        assert answer.status_code == 413

    def test_no_more_fields_than_a_form_has_are_kept(self, client):
        answer = client.post("/phone-systems/new", data={f"field{number}": "x" for number in range(1000)})
        assert answer.text.count('type="hidden"') < 60

    @pytest.mark.parametrize(
        "body", [{"json": [1]}, {"json": {"name": "x"}}, {"data": {"name": "x"}, "content_type": "multipart/form-data"}]
    )
    def test_json_and_files_are_no_forms(self, alice_visits, client, body):
        for sender in (client, alice_visits.client):
            for address in ("/forgot-password", "/sign-in", "/phone-systems/new"):
                assert sender.post(address, **body).status_code == 415

    @pytest.mark.parametrize("origin", ["http://[::1", "null", "https://evil.example"])
    def test_an_origin_that_is_not_ours_is_refused(self, client, origin):
        assert client.post("/sign-in", headers={"Origin": origin}).status_code == 403

    def test_a_cookie_of_another_release_is_one_of_nobody(self, visitor):
        for pending in ({}, None, {"user_id": "x"}, ["x"]):
            with visitor.client.session_transaction() as cookie:
                cookie["pending"] = pending
            page = visitor.open("/sign-in")
            assert visitor.send(page, "Sign in", 200).title == "Sign in"

    def test_a_query_that_is_no_text_is_refused(self, client):
        assert client.get("/sign-in", environ_overrides={"QUERY_STRING": "next=\xff"}).status_code == 400

    def test_another_site_cannot_make_a_browser_export(self, alice_visits):
        answer = alice_visits.client.get("/calls/export.csv", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
