"""A secret that people enter is on no page, in no redirect, cookie or log; and pages work where one cannot be read."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select, text, update

from app.database import now
from app.encryption import sealed
from app.extensions import db
from app.identity.models import UserSession
from app.phone_systems.models import PhoneSystem
from tests.calls.conftest import make_hook
from tests.conftest import PASSWORD, in_database
from tests.dashboard.test_phone_systems import let_proof_expire, prove
from tests.test_secrets import CANARY, everything_logged, holds_canary

__all__ = ["everything_logged"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class Noun:
    path: str
    secret: str
    table: str
    fields: dict[str, Any]
    harmless: dict[str, Any]  # a change that does not touch the secret
    elsewhere: dict[str, Any]  # one of where it is sent
    wrong: dict[str, Any]  # what no form takes

    def create(self, person, **more: Any) -> str:
        """The page of a new one."""
        answer = person.client.post(f"/api{self.path}", json=self.fields | more)
        assert answer.status_code == 201, answer.json
        return answer.headers["Location"].removeprefix("/api")


NOUNS = [
    Noun(
        "/phone-systems",
        "password",
        "phone_systems",
        {"name": "HQ", "vendor": "asterisk", "base_url": "https://pbx.acme.example", "webhook_password": CANARY},
        {"name": "Branch"},
        {"base_url": "https://other.example"},
        {"webhook_username": "a:b"},
    ),
    Noun(
        "/payment-accounts",
        "client_secret",
        "payment_accounts",
        {"provider": "paypal", "mode": "sandbox"},
        {"client_id": "AbC"},
        {"mode": "live"},
        {"client_id": "x" * 256},
    ),
    Noun(
        "/api-credentials",
        "secret",
        "api_credentials",
        {"name": "Maps", "provider": "acme"},
        {"name": "Routes"},
        {"provider": "other"},
        {"expires_at": "tomorrow"},
    ),
]


@pytest.fixture(params=NOUNS, ids=lambda noun: noun.table)
def noun(request) -> Noun:
    return request.param


@pytest.fixture
def answered(app) -> list[str]:
    """Everything that is answered from now on: heads and bodies."""
    seen: list[str] = []

    @app.after_request
    def see(response):
        seen.append(f"{response.headers}\n{response.get_data(as_text=True)}")
        return response

    return seen


def end_session(app):
    with in_database(app):
        db.session.execute(update(UserSession).values(ended_at=now()))
        db.session.commit()


def proof_that_expired(app, visitor, page, **fields):
    let_proof_expire(app)
    return prove(visitor, visitor.send(page, "Save", **fields))


def test_a_canary_is_in_no_page_no_redirect_no_cookie_and_no_log(
    app, alice, alice_visits, noun, answered, everything_logged, capfd
):
    send, secret = alice_visits.send, {noun.secret: CANARY}
    of_pages = {name: value for name, value in noun.fields.items() if name != "webhook_password"}
    page = send(alice_visits.open(f"{noun.path}/new"), "Save", 422, **of_pages, **secret, **noun.wrong)
    send(page, "Save", **of_pages, **secret, **dict.fromkeys(noun.wrong, ""))
    where = noun.create(alice, **secret)
    for path in (noun.path, where, f"{where}/edit", f"{where}/secret", f"{where}/secret/remove", f"{where}/delete"):
        alice_visits.open(path)
    # Refused: something else is wrong, somebody else was quicker, the secret is no good.
    asked = send(alice_visits.open(f"{where}/edit"), "Save", 422, **noun.elsewhere)
    send(asked, "Save", 422, **secret, **noun.wrong)
    second = alice_visits.open(f"{where}/secret")
    send(alice_visits.open(f"{where}/edit"), "Save", **noun.harmless)
    send(asked, "Save", 422, **secret)
    send(second, "Save", 422, **secret)
    send(alice_visits.open(f"{where}/secret"), "Save", 422, **{noun.secret: CANARY + "x" * 4096})
    # Steps in between.
    form = alice_visits.open(f"{where}/secret")
    page = proof_that_expired(app, alice_visits, form, **secret)
    assert page.values("Save")[noun.secret] == ""
    asked = send(alice_visits.open(f"{where}/edit"), "Save", 422, **noun.elsewhere)
    page = proof_that_expired(app, alice_visits, asked, **secret)
    assert page.values("Save")[noun.secret] == ""
    assert page.values("Save").items() >= noun.elsewhere.items()
    end_session(app)
    page = send(page, "Save", **secret)
    page = send(page, "Sign in", **{"step-email": alice.email, "step-password": PASSWORD})
    assert page.values("Save")[noun.secret] == ""
    assert page.values("Save").items() >= noun.elsewhere.items()
    send(page, "Save", **secret)
    send(alice_visits.open(f"{where}/secret/remove"), None)
    with alice_visits.client.session_transaction() as cookie:
        assert not holds_canary(str(dict(cookie)))
    assert len(answered) > 30
    assert not [answer for answer in answered if holds_canary(answer)]
    printed = capfd.readouterr()
    assert not holds_canary(everything_logged.text + printed.out + printed.err)


@on_sqlite
def test_a_generated_password_is_on_the_page_that_made_it_and_nowhere_else(app, alice_visits, answered, caplog):
    page = alice_visits.open("/phone-systems/new")
    page = alice_visits.send(page, "Save", name="HQ", vendor="asterisk")
    first = page.all("#webhook-password")[0]
    where = page.soup.select_one("[data-live]")["data-live"].rpartition("/")[0]
    page = alice_visits.send(alice_visits.open(f"{where}/webhook-password"), "Make a new password")
    second = page.all("#webhook-password")[0]
    assert first != second
    for path in (where, "/phone-systems", f"{where}/edit", f"{where}/arrivals", f"{where}/webhook-password/end-grace"):
        alice_visits.open(path) if not path.endswith("arrivals") else alice_visits.client.get(path)
    for password in (first, second):
        assert len([answer for answer in answered if password in answer]) == 1
        assert password not in caplog.text
    with alice_visits.client.session_transaction() as cookie:
        assert not {first, second} & set(str(dict(cookie)).split("'"))


@on_sqlite
def test_pages_open_no_secret(app, alice, alice_visits, noun, monkeypatch):
    where = noun.create(alice, **{noun.secret: CANARY})

    def refuse(*args):
        raise AssertionError("a secret was opened")

    monkeypatch.setattr(sealed, "open", refuse)
    for path in (noun.path, where, f"{where}/edit", f"{where}/secret", f"{where}/secret/remove", f"{where}/delete"):
        alice_visits.open(path)
    alice_visits.send(alice_visits.open(f"{where}/edit"), "Save", **noun.harmless)
    alice_visits.send(alice_visits.open(f"{where}/edit"), "Save", 422, **noun.elsewhere)
    alice_visits.send(alice_visits.open(f"{where}/secret"), "Save", **{noun.secret: "new"})
    alice_visits.send(alice_visits.open(f"{where}/secret/remove"))
    alice_visits.send(alice_visits.open(f"{where}/delete"))


def make_unreadable(app, table, *secrets):
    """Each row gets the values of the others, which do not open there."""
    with in_database(app):
        for secret in secrets:
            column = f"{secret}_encrypted"
            rows = db.session.execute(text(f"SELECT id, {column} FROM {table}")).all()
            for (id, _), (_, value) in zip(rows, [*rows[1:], rows[0]], strict=True):
                db.session.execute(
                    text(f"UPDATE {table} SET {column} = :value WHERE id = :id"), {"value": value, "id": id}
                )
        db.session.commit()


def test_a_secret_that_cannot_be_read_breaks_no_page_and_is_replaced(app, alice, alice_visits, noun):
    where, _ = (noun.create(alice, **{noun.secret: CANARY}) for _ in range(2))
    make_unreadable(app, noun.table, noun.secret)
    for path in (noun.path, where, f"{where}/edit", f"{where}/secret", f"{where}/secret/remove", f"{where}/delete"):
        alice_visits.open(path)
    alice_visits.send(alice_visits.open(f"{where}/edit"), "Save", **noun.harmless)
    page = alice_visits.send(alice_visits.open(f"{where}/secret"), "Save", **{noun.secret: "new"})
    assert "was saved" in page.messages
    make_unreadable(app, noun.table, noun.secret)
    page = alice_visits.send(alice_visits.open(f"{where}/edit"), "Save", 422, **noun.elsewhere)
    alice_visits.send(page, "Save", without_secret="y")
    assert "not set" in alice_visits.open(where).text
    make_unreadable(app, noun.table, noun.secret)
    alice_visits.send(alice_visits.open(f"{where}/delete"))
    alice_visits.open(where, 404)


def test_a_webhook_password_that_cannot_be_read_is_replaced_at_once(app, alice, alice_visits):
    hook, _ = (make_hook(app, alice) for _ in range(2))
    make_unreadable(app, "phone_systems", "webhook_password")
    where = f"/phone-systems/{hook.path.split('/')[3]}"
    for path in ("", "/webhook-password", "/webhook-password/remove"):
        alice_visits.open(where + path)
    page = alice_visits.send(alice_visits.open(f"{where}/webhook-password"), "Make a new password", 422)
    assert "cannot be read any more, so it cannot be kept" in page.errors()["keep_previous_hours"]
    page = alice_visits.send(page, "Make a new password", keep_previous_hours="0")
    assert page.title == "New webhook password for HQ"
    with in_database(app):
        readable = [row.id for row in db.session.scalars(select(PhoneSystem)) if str(row.id) in where]
        assert len(readable) == 1
    assert hook.deliver(credentials=("pbx", page.all("#webhook-password")[0])).status_code == 201


@on_sqlite
def test_a_previous_password_that_cannot_be_read_breaks_no_page(app, alice, alice_visits):
    wheres = [f"/phone-systems/{make_hook(app, alice).path.split('/')[3]}" for _ in range(2)]
    for where in wheres:
        alice_visits.send(alice_visits.open(f"{where}/webhook-password"), "Make a new password")
    make_unreadable(app, "phone_systems", "previous_webhook_password")
    for path in ("", "/edit", "/webhook-password", "/webhook-password/end-grace"):
        alice_visits.open(wheres[0] + path)
    page = alice_visits.send(alice_visits.open(f"{wheres[0]}/webhook-password/end-grace"))
    assert "does not work any more" in page.messages


@on_sqlite
def test_a_page_with_a_secret_in_it_is_kept_by_no_cache(alice_visits):
    page = alice_visits.send(alice_visits.open("/phone-systems/new"), "Save", name="HQ", vendor="asterisk")
    assert page.response.headers["Cache-Control"] == "no-store"
