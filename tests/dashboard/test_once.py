"""What a page makes is made once, however often its form is sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Barrier
from uuid import UUID

import pyotp
import pytest
from sqlalchemy import event, select

from app.api_keys.models import ApiKey
from app.dashboard.once import TOO_OLD
from app.database import now, uuid7
from app.extensions import db
from app.identity.models import User
from app.phone_systems.models import PhoneSystem
from tests.conftest import in_database
from tests.dashboard import test_account
from tests.dashboard.test_api_keys import BUTTON
from tests.dashboard.visitor import Visitor

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ids(app, model):
    with in_database(app):
        return db.session.scalars(select(model.id)).all()


def drawn(at: datetime) -> str:
    """A UUIDv7 of another time."""
    return str(UUID(int=(int(at.timestamp() * 1000) << 80) | (uuid7().int & ((1 << 80) - 1))))


def test_a_phone_system_whose_answer_is_loaded_again_is_added_once(app, alice_visits):
    form = alice_visits.open("/phone-systems/new")
    assert alice_visits.send(form, "Save", name="HQ").title == "HQ was added"
    page = alice_visits.send(form, "Save", name="HQ")
    assert page.title == "HQ"
    assert "HQ was added already, and not a second time. Its webhook password was shown once" in page.messages
    assert [str(id) for id in ids(app, PhoneSystem)] == [form.values("Save")["once"]]


def test_an_api_key_whose_answer_is_loaded_again_is_made_once(app, alice_visits):
    form = alice_visits.open("/api-keys/new")
    assert alice_visits.send(form, BUTTON, name="Wallboard", expiry="never").title == "API key “Wallboard”"
    page = alice_visits.send(form, BUTTON, name="Wallboard", expiry="never")
    assert page.title == "API keys"
    assert "The key was made already, and not a second time." in page.messages
    assert [str(id) for id in ids(app, ApiKey)] == [form.values(BUTTON)["once"]]


@contextmanager
def meeting(app, statement):
    """Two requests that run meanwhile both come as far as that statement before either goes on; but on SQLite, which
    lets one that writes begin when the other is done."""
    both, been_there = Barrier(2, timeout=30), threading.local()

    def wait(connection, cursor, text, *others):
        if engine.name != "sqlite" and statement in text and not hasattr(been_there, "done"):
            been_there.done = True
            both.wait()

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", wait)


@pytest.mark.parametrize(
    ("path", "button", "typed", "model", "shown", "told"),
    [
        (
            "/phone-systems/new",
            "Save",
            {"name": "HQ"},
            PhoneSystem,
            "HQ was added",
            "HQ was added already, and not a second time. Its webhook password was shown once",
        ),
        (
            "/api-keys/new",
            BUTTON,
            {"name": "Wallboard", "expiry": "never"},
            ApiKey,
            "API key “Wallboard”",
            "The key was made already, and not a second time.",
        ),
    ],
)
def test_of_two_clicks_at_once_one_makes_it_and_the_other_is_told(
    app, alice_visits, path, button, typed, model, shown, told
):
    """As a browser sends them: with the same form and the same cookie."""
    form, cookie = alice_visits.open(path), alice_visits.client.get_cookie("audiapro")
    visitors = [Visitor(app.test_client()) for _ in range(2)]
    for visitor in visitors:
        visitor.client.set_cookie("audiapro", cookie.value)
    with meeting(app, f"FROM {model.__tablename__}"), ThreadPoolExecutor(2) as clicks:
        pages = list(clicks.map(lambda visitor: visitor.send(form, button, **typed), visitors))
    assert [str(id) for id in ids(app, model)] == [form.values(button)["once"]]
    made, second = sorted(pages, key=lambda page: page.title != shown)
    assert made.title == shown
    assert second.title != shown
    assert told in second.messages


@on_sqlite
@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("payment-accounts", {"client_id": "A"}),
        ("api-credentials", {"name": "Transcription", "provider": "Deepgram"}),
    ],
)
def test_so_are_other_connections(alice_visits, path, typed):
    form = alice_visits.open(f"/{path}/new")
    assert "already" not in alice_visits.send(form, "Save", **typed).messages
    assert "was added already, and not a second time." in alice_visits.send(form, "Save", **typed).messages


@on_sqlite
@pytest.mark.parametrize(
    ("path", "button", "typed", "model"),
    [
        ("/phone-systems/new", "Save", {"name": "HQ"}, PhoneSystem),
        ("/api-keys/new", BUTTON, {"name": "Wallboard", "expiry": "never"}, ApiKey),
    ],
)
def test_an_id_of_no_form_of_the_last_day_is_not_taken(app, alice_visits, path, button, typed, model):
    bad = (
        "",
        "x",
        "9" * 5000,
        "00000000-0000-4000-8000-000000000000",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "00000000-0000-7000-8000-000000000000",
        drawn(now() - timedelta(days=2)),
        drawn(now() + timedelta(hours=1)),
    )
    for once in bad:
        page = alice_visits.send(alice_visits.open(path), button, 422, once=once, **typed)
        assert TOO_OLD in page.messages
    assert ids(app, model) == []
    alice_visits.send(page, button)
    assert len(ids(app, model)) == 1


@pytest.mark.parametrize(
    ("path", "button", "typed", "model"),
    [
        ("/phone-systems/new", "Save", {"name": "HQ"}, PhoneSystem),
        ("/api-keys/new", BUTTON, {"name": "Wallboard", "expiry": "never"}, ApiKey),
    ],
)
def test_an_id_of_another_tenant_is_refused_and_shows_nothing(
    app, alice_visits, charlie_visits, path, button, typed, model
):
    form = alice_visits.open(path)
    alice_visits.send(form, button, **typed)
    taken = form.values(button)["once"]
    page = charlie_visits.send(charlie_visits.open(path), button, 409, once=taken, **typed)
    assert "HQ" not in page.text
    assert "Wallboard" not in page.text
    assert [str(id) for id in ids(app, model)] == [taken]


@on_sqlite
def test_recovery_codes_whose_answer_is_loaded_again_stay_as_they_are(app, alice, alice_visits):
    def hashes():
        with in_database(app):
            return db.session.scalars(select(User).where(User.email == alice.email)).one().recovery_code_hashes

    page, secret = test_account.TestSecondFactor().begin(alice_visits)
    for _ in range(2):
        last = alice_visits.send(page, "Switch it on", code=pyotp.TOTP(secret).now())
    assert last.title == "Your account"
    assert last.messages.startswith("Your second factor is on already. Your recovery codes were shown once")
    page = alice_visits.open("/account/recovery-codes")
    assert alice_visits.send(page, "Make new codes").title == "Your recovery codes"
    made = hashes()
    last = alice_visits.send(page, "Make new codes")
    assert last.messages.startswith("The codes were renewed already, and not a second time.")
    assert hashes() == made
    alice_visits.send(alice_visits.open("/account/recovery-codes"), "Make new codes")
    assert hashes() != made
