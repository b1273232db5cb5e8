"""What goes wrong, told to people and to programs each in their own way."""

import re

import pytest
from limits import parse
from sqlalchemy.exc import OperationalError

from app.limits.limit import Limit
from tests.dashboard.visitor import Page, check

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

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
