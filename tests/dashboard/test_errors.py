"""What goes wrong, told to people and to programs each in their own way."""

import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from limits import parse
from sqlalchemy.exc import OperationalError

from app.dashboard.steps import NOT_KEPT
from app.limits.limit import Limit
from tests.conftest import running
from tests.dashboard.conftest import signed_in_visitor
from tests.dashboard.visitor import Page, check
from tests.servers import Redis

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

CANARY = '"><script>alert(1)</script>{{7*7}}'
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_an_unknown_page_is_a_page_for_browsers_and_a_problem_for_programs(client):
    page = Page(client.get("/nowhere", headers=BROWSER), "/nowhere")
    check(page)
    assert (page.status, page.title) == (404, "Page not found")
    assert re.search(r"request [0-9a-f-]{36}", page.text)
    for path, accepted in (("/nowhere", "*/*"), ("/api/nowhere", "text/html"), ("/hooks/nowhere", "text/html")):
        answer = client.get(path, headers={"Accept": accepted})
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (ZeroDivisionError("hunter2"), 500, "Something went wrong here"),
        (OperationalError("SELECT hunter2", {}, Exception("hunter2")), 503, "Not available at the moment"),
    ],
)
def test_a_failure_says_no_more_than_the_request_id(alice_visits, monkeypatch, error, status, title):
    def fail(*_):
        raise error

    monkeypatch.setattr("app.identity.sessions.get_membership", fail)
    page = alice_visits.open("/overview", status)
    assert page.title == title
    assert "hunter2" not in page.response.text
    assert re.search(r"request [0-9a-f-]{36}", page.text)


def test_a_database_that_is_away_is_a_page_that_asks_nothing_of_it(alice_visits, monkeypatch):
    def fail(*_):
        raise OperationalError("SELECT 1", {}, Exception())

    monkeypatch.setattr("app.identity.sessions.find", fail)
    assert alice_visits.open("/overview", 503).title == "Not available at the moment"
    assert alice_visits.client.get("/overview").headers["Retry-After"] == "5"


TYPED = {"name": "HQ", "base_url": "https://pbx.example.com", "password": "hunter2hunter2"}
KEPT = {"name": "HQ", "base_url": "https://pbx.example.com", "password": ""}


def fill_in_while(visitor, refused, status):
    """What comes of a form that is sent while it is refused, and then asked for again."""
    form = visitor.open("/phone-systems/new")
    with refused:
        page = visitor.send(form, "Save", status, **TYPED)
        assert "Your form is kept, except secrets" in page.text
        assert "hunter2" not in page.response.text
        page = visitor.send(page, "Show the form again", status)  # once more, too early
    again = visitor.send(page, "Show the form again")
    assert again.title == "New phone system"
    assert "Nothing was done yet" in again.messages
    shown = again.values("Save")
    assert {name: shown[name] for name in KEPT} == KEPT
    assert shown["once"] == form.values("Save")["once"]
    assert "HQ" not in visitor.open("/phone-systems").text
    assert visitor.send(again, "Save").title == "HQ was added"


@pytest.mark.parametrize("limit", ["budget", "address"])
def test_what_was_typed_is_kept_after_too_many_requests(app, alice_visits, monkeypatch, limit):
    @contextmanager
    def refused():
        with monkeypatch.context() as patch:
            if limit == "budget":
                patch.setitem(app.extensions, "tenant_budget", parse("1 per minute"))
            else:
                patch.setitem(app.extensions, "rates", app.extensions["rates"] | {Limit.API: parse("1 per hour")})
                alice_visits.client.get("/sign-in")
            yield

    fill_in_while(alice_visits, refused(), 429)


def test_what_was_typed_is_kept_while_redis_is_stopped(app, settings, alice):
    @contextmanager
    def stopped():
        redis.stop()
        yield
        redis.start()

    with Redis() as redis, running(replace(settings, redis_url=redis.url)) as process:
        process.extensions["encryption"].checked = True
        fill_in_while(signed_in_visitor(process, alice), stopped(), 503)


def test_what_was_typed_is_kept_on_pages_of_everybody_too(app, visitor, monkeypatch):
    page = visitor.open("/forgot-password")
    with monkeypatch.context() as patch:
        patch.setitem(app.extensions, "rates", app.extensions["rates"] | {Limit.API: parse("1 per hour")})
        visitor.client.get("/sign-in")
        page = visitor.send(page, "Send the link", 429, email=CANARY)
        assert page.soup.find("script", string=True) is None
    assert visitor.send(page, "Show the form again").values("Send the link")["email"] == CANARY


def test_what_another_site_made_up_is_not_offered_as_typed(app, visitor, monkeypatch):
    monkeypatch.setitem(app.extensions, "rates", app.extensions["rates"] | {Limit.API: parse("1 per hour")})
    for site, is_kept in (("same-origin", True), ("cross-site", False)):
        visitor.client.get("/sign-in")
        answer = visitor.client.post("/sign-up", data={"email": "eve@evil.example"}, headers={"Sec-Fetch-Site": site})
        assert (answer.status_code, "eve@evil.example" in answer.text) == (429, is_kept)


def test_a_form_of_somebody_else_is_not_shown_again(alice_visits, bob, app, monkeypatch):
    page = alice_visits.open("/account/email")
    with monkeypatch.context() as patch:
        patch.setitem(app.extensions, "tenant_budget", parse("1 per minute"))
        page = alice_visits.send(page, "Send the link", 429, email="ada@acme.example")
    assert signed_in_visitor(app, bob).send(page, "Show the form again").messages == NOT_KEPT


def test_more_than_we_take_is_not_kept(app, client, monkeypatch):
    monkeypatch.setitem(app.extensions, "rates", app.extensions["rates"] | {Limit.API: parse("1 per hour")})
    client.get("/sign-in")
    answer = client.post("/forgot-password", data={"email": "x" * 200_000})
    assert answer.status_code == 429
    assert len(answer.data) < 10_000


def test_a_method_that_a_page_does_not_have_is_told_on_a_page(alice_visits):
    page = Page(alice_visits.client.delete("/overview", headers=BROWSER), "/overview")
    assert (page.status, page.title) == (405, "That does not work here")


def test_a_form_of_another_site_is_told_on_a_page(client):
    answer = client.post("/sign-in", headers={"Sec-Fetch-Site": "cross-site"})
    assert Page(answer, "/sign-in").title == "Not allowed"


def test_too_many_requests_are_told_on_a_page(app, visitor, monkeypatch):
    rates = app.extensions["rates"] | {Limit.API: parse("1 per minute")}
    monkeypatch.setitem(app.extensions, "rates", rates)
    visitor.open("/sign-in")
    page = visitor.open("/sign-in", 429)
    assert page.title == "Please wait a little"
    assert re.search(r"Try again in \d+ seconds?\.", page.text)
