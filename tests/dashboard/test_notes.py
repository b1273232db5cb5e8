"""What is told on the next page belongs to the session that it was made in, and fits into the cookie."""

import random

import pyotp
import pytest
from sqlalchemy import update

from app.dashboard import notes
from app.database import now
from app.extensions import db
from app.identity import second_factor
from app.identity.models import User, UserSession
from app.identity.users import canonical_email
from tests.conftest import PASSWORD, in_database
from tests.dashboard.visitor import OF_OUR_OWN_PAGE
from tests.identity.test_browser_sessions import join

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NOTE = "You are signed out everywhere but here."
MOST_OF_A_COOKIE = 4_093  # bytes, with its name and attributes: what all browsers keep


def leave_a_note(visitor):
    """Do something, and do not look at what comes of it."""
    page = visitor.open("/account")
    form = page.form("Sign out everywhere else")
    token = form.find("input", attrs={"name": "csrf_token"})["value"]
    answer = visitor.client.post(form["action"], data={"csrf_token": token}, headers=OF_OUR_OWN_PAGE)
    assert answer.status_code == 303


def sign_in(visitor, page, person):
    return visitor.send(page, "Sign in", **{"step-email": person.email, "step-password": PASSWORD})


def end_sessions(app, person):
    with in_database(app):
        db.session.execute(update(UserSession).where(UserSession.id == person.session_id).values(ended_at=now()))
        db.session.commit()


def test_a_note_is_shown_once(alice_visits):
    leave_a_note(alice_visits)
    assert alice_visits.open("/overview").messages == NOTE
    assert alice_visits.open("/overview").messages == ""


def test_a_page_of_everybody_leaves_it_for_the_next_one_of_its_session(alice_visits):
    leave_a_note(alice_visits)
    assert alice_visits.open("/forgot-password").messages == ""
    assert alice_visits.open("/overview").messages == NOTE


def test_whoever_finds_an_ended_session_does_not_see_its_notes(app, alice, bob, alice_visits):
    leave_a_note(alice_visits)
    end_sessions(app, alice)
    page = alice_visits.open("/overview")
    assert (page.title, page.messages) == ("Sign in", "")
    assert NOTE not in sign_in(alice_visits, page, bob).messages
    assert NOTE not in alice_visits.open("/overview").messages


def test_signing_out_forgets_them_and_says_so_itself(bob, alice_visits):
    leave_a_note(alice_visits)
    alice_visits.client.post("/sign-out", headers=OF_OUR_OWN_PAGE)
    page = alice_visits.open("/sign-in")
    assert page.messages == "You are signed out."
    assert NOTE not in sign_in(alice_visits, page, bob).messages


def test_who_signs_in_over_the_session_of_another_does_not_see_them(visitor, bob, alice_visits):
    page = visitor.open("/sign-in")
    token = alice_visits.open("/account").values("Sign out everywhere else")["csrf_token"]
    leave_a_note(alice_visits)
    sent = page.values("Sign in") | {"step-email": bob.email, "step-password": PASSWORD, "step-csrf_token": token}
    assert alice_visits.client.post("/sign-in", data=sent, headers=OF_OUR_OWN_PAGE).status_code == 303
    page = alice_visits.open("/overview")
    assert page.soup.select_one(".who span").get_text() == bob.email
    assert page.messages == ""


def test_who_signs_in_after_a_note_of_nobody_does_not_see_it(visitor, alice):
    sent = visitor.open("/sign-in").values("Sign in") | {"step-email": alice.email, "step-password": PASSWORD}
    visitor.client.post("/sign-out", headers=OF_OUR_OWN_PAGE)
    visitor.client.post("/sign-in", data=sent, headers=OF_OUR_OWN_PAGE)
    assert "You are signed out." not in visitor.open("/overview").messages


def random_text(length, which=0):
    """Of characters that take the most bytes, and that nothing compresses well."""
    drawn = random.Random(which)
    return "".join(chr(drawn.randrange(0x20000, 0x2A000)) for _ in range(length))


def test_a_long_note_is_told_with_its_begin_and_its_end(app):
    text = f"The API key “{random_text(255)}” is deleted: what uses it is refused from now on."
    with app.test_request_context("/"):
        notes.keep("success", text)
        notes.keep("success", "short")
        (_, told), short = notes.take()
    assert short == ("success", "short")
    assert told.startswith(text[:20])
    assert told.endswith("” is deleted: what uses it is refused from now on.")
    assert "…" in told


def test_of_many_notes_the_last_are_told(app):
    with app.test_request_context("/"):
        for number in range(50):
            notes.keep("success", f"{number} {random_text(255)}")
        assert notes.take()[-1][1].startswith("49 ")


def longest_address():
    """Of 254 bytes, as they are sent."""
    drawn = random.Random(0)
    letters = [chr(drawn.randrange(0x4E00, 0x9000)) for _ in range(60)]
    domain = ".".join("".join(letters[start : start + 5]) for start in (0, 5, 10))
    return canonical_email(f"{''.join(letters)}@{domain}.example")


def test_the_cookie_is_kept_by_browsers_whatever_is_in_it(app, alice, alice_visits):
    """Through several notes with the longest names, an ended session, a code, and the choice of an organisation."""
    sizes, serve = [], app.wsgi_app

    def see(environ, start_response):
        def start(status, headers, *more):
            sizes.extend(len(value) for name, value in headers if name == "Set-Cookie")
            return start_response(status, headers, *more)

        return serve(environ, start)

    app.wsgi_app = see
    forms = []
    for number in range(6):
        page = alice_visits.send(alice_visits.open("/phone-systems/new"), "Save", name=random_text(255, number))
        made = page.soup.select_one("main a[href^='/phone-systems/']")["href"].split("/")[2].partition("?")[0]
        forms.append(alice_visits.open(f"/phone-systems/{made}/edit"))
    for form in forms:
        sent = form.values("Save") | {"name": f"{form.values('Save')['name'][:-1]}x"}
        assert alice_visits.client.post(form.address, data=sent, headers=OF_OUR_OWN_PAGE).status_code == 303
    join(app, alice, "beta")
    email = longest_address()
    with in_database(app):
        secret = second_factor.begin(db.session(), alice.user_id).secret
        code = pyotp.TOTP(secret).at(now())
        codes = second_factor.confirm(db.session(), alice.user_id, code, alice.session_id)
        db.session.execute(update(User).where(User.id == alice.user_id).values(email=email))
        db.session.commit()
    end_sessions(app, alice)
    typed = {"step-email": email, "step-password": PASSWORD}
    page = alice_visits.send(alice_visits.open("/overview"), "Sign in", **typed)
    assert page.title == "Second factor"
    page = alice_visits.send(page, "Continue", **{"step-code": codes[0]})
    assert page.title == "Choose where to go"
    assert alice_visits.send(page, "Continue", **{"step-tenant": "beta"}).title == "Overview"
    assert 1_000 < max(sizes) < MOST_OF_A_COOKIE
