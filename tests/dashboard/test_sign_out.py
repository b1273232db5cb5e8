"""Whoever leaves a computer gets out, whatever works at the moment."""

from dataclasses import replace

import pytest
from limits import parse
from sqlalchemy.exc import OperationalError

from app.extensions import db
from app.identity.models import UserSession
from app.limits.limit import Limit
from tests.conftest import in_database, running
from tests.dashboard.conftest import signed_in_visitor
from tests.dashboard.visitor import OF_OUR_OWN_PAGE, Page, check
from tests.servers import Redis

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def sign_out(visitor):
    return visitor.client.post("/sign-out", headers=OF_OUR_OWN_PAGE)


def is_ended(app, person):
    with in_database(app):
        return db.session.get_one(UserSession, person.session_id).ended_at is not None


@on_sqlite
def test_with_redis_stopped_a_session_ends_and_the_cookie_goes(app, settings, alice):
    with Redis() as redis, running(replace(settings, redis_url=redis.url)) as process:
        process.extensions["encryption"].checked = True
        process.secret_key = app.secret_key
        visitor = signed_in_visitor(process, alice)
        assert visitor.open("/overview").title == "Overview"
        redis.stop()
        visitor.open("/overview", 503)
        assert sign_out(visitor).status_code == 303
        assert is_ended(app, alice)
        with visitor.client.session_transaction() as cookie:
            assert "subject" not in cookie
        assert "You are signed out." in visitor.open("/sign-in", 503).messages
        redis.start()
        assert visitor.open("/overview").title == "Sign in"


@on_sqlite
def test_too_many_requests_keep_nobody_in(app, alice, alice_visits, monkeypatch):
    monkeypatch.setitem(app.extensions, "rates", app.extensions["rates"] | {Limit.API: parse("1 per minute")})
    alice_visits.open("/overview")
    alice_visits.open("/overview", 429)
    assert sign_out(alice_visits).status_code == 303
    assert is_ended(app, alice)


@pytest.mark.parametrize("fails", ["app.identity.sessions.find", "app.identity.signing_out.end"])
def test_without_the_database_the_cookie_goes_and_the_page_says_what_is_left(
    app, alice, alice_visits, monkeypatch, fails
):
    def fail(*_):
        raise OperationalError("SELECT hunter2", {}, Exception("hunter2"))

    with monkeypatch.context() as patch:
        patch.setattr(fails, fail)
        answer = sign_out(alice_visits)
    page = Page(answer, "/sign-out")
    check(page)
    assert (page.status, page.title) == (503, "Not available at the moment")
    assert "You are signed out in this browser. The session could not be ended" in page.text
    assert "hunter2" not in answer.text
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert "Retry-After" not in answer.headers  # without the cookie a second attempt would seem to succeed
    assert not is_ended(app, alice)
    assert alice_visits.open("/overview").title == "Sign in"
