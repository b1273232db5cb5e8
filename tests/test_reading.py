"""Whoever reads everything that can be read changes nothing, and sees no secret."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyotp
import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.extensions import db
from tests.calls.conftest import make_hook
from tests.conftest import PASSWORD, Person, in_database, signed_in
from tests.dashboard.conftest import signed_in_visitor
from tests.mail.mailbox import Mailbox, mailbox, settings
from tests.one_time import post
from tests.status.scraped import scrape_counted
from tests.test_secrets import BODIES, CANARY, holds_canary

__all__ = ["mailbox", "settings"]
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Pages that lead somewhere else whoever is signed in already.
LEAD_ON = {"/sign-in"}
LISTS_SHOW = {"limit": "1"}
NO_LISTS = (
    *("/api/me", "/api/me/second-factor"),
    *(f"/api/calls/{name}" for name in ("export", "summary", "volume", "hours-of-week")),
)
LAST_USED = {("api_keys", "last_used_at"), ("sessions", "used_at")}


@dataclass(frozen=True)
class World:
    """What Alice has made: of each blueprint one object, by its id, and every secret that anybody was given."""

    ids: dict[str, str]
    secrets: list[str]
    api_key: str


@pytest.fixture
def world(app: APIFlask, client: FlaskClient, alice: Person, bob: Person, mailbox: Mailbox) -> World:
    """A canary is in every secret that people choose."""
    ids = {}
    for url, body in BODIES.items():
        created = post(alice.client, url, **body)
        ids[url.rpartition("/")[2].replace("-", "_")] = created.json["id"]
    hook = alice.client.get(f"/api/phone-systems/{ids['phone_systems']}").json
    for password in (CANARY, f"{CANARY} "):
        client.post(hook["webhook_path"], auth=(hook["webhook_username"], password), data={"uniqueid": "1"})
    post(client, "/api/login", email=alice.email, password=CANARY)
    not_understood = alice.client.get(f"/api/phone-systems/{ids['phone_systems']}/unreadable-deliveries").json
    ids["deliveries"] = not_understood["items"][0]["id"]
    ids["calls"] = make_hook(app, alice).deliver().json["ids"][0]
    key = post(alice.client, "/api/api-keys", name="Wallboard", role="admin").json
    ids["api_keys"] = key["id"]
    ids["invitations"] = post(alice.client, "/api/invitations", email="dora@acme.example", role="member").json["id"]
    ids["members"] = alice.client.get("/api/members").json["items"][0]["id"]
    post(alice.client, "/api/me/email", email="ada@acme.example")
    post(client, "/api/password-reset", email=bob.email)
    links = [mailbox.token(address) for address in ("dora@acme.example", "ada@acme.example", bob.email)]
    totp = alice.client.post("/api/me/second-factor").json["secret"]
    confirmed = post(alice.client, "/api/me/second-factor/confirm", code=pyotp.TOTP(totp).now()).json
    token = alice.client.environ_base["HTTP_AUTHORIZATION"].rpartition(".")[2]
    made = [key["key"].rpartition("_")[2], *links, totp, *confirmed["recovery_codes"], token, PASSWORD]
    return World(ids, made, key["key"])


def reads(app: APIFlask, world: World) -> Iterator[tuple[str, dict[str, str]]]:
    """Every URL that can be read by who is signed in, with the parameters to read it with."""
    filters = {"outcome": "success", "object_id": world.ids["phone_systems"], "since": "2020-01-01T00:00:00Z"}
    for rule in app.url_map.iter_rules():
        blueprint, _, view = rule.endpoint.partition(".")
        if "GET" not in (rule.methods or ()) or view == "static" or blueprint in app.extensions["pages"] | {"metrics"}:
            continue
        url = with_ids(rule.rule, world, blueprint)
        yield url, {}
        if url.startswith("/api/") and not rule.arguments and url not in NO_LISTS:
            yield url, LISTS_SHOW
        if url in ("/api/calls", "/api/calls/export"):
            yield url, {"since": "2020-01-01T00:00:00Z", "number": "100", "disposition": "answered"}
        if url == "/api/audit-events":
            yield from ((url, {name: value}) for name, value in filters.items())
            yield url, filters | {"action": "phone_system.created"}


def pages(app: APIFlask, world: World) -> Iterator[str]:
    """The address of every page."""
    for rule in app.url_map.iter_rules():
        blueprint = rule.endpoint.partition(".")[0]
        if "GET" in (rule.methods or ()) and blueprint in app.extensions["pages"]:
            kinds = [kind for kind in ("invitations", "members") if f"/{kind}/" in rule.rule]
            noun = (kinds or [blueprint.removesuffix("_pages")])[0]
            yield with_ids(rule.rule, world, noun)


def with_ids(rule: str, world: World, noun: str) -> str:
    own = rule.replace("<uuid:id>", world.ids.get(noun, ""))
    return own.replace("<uuid:delivery_id>", world.ids["deliveries"])


def everything(app: APIFlask) -> dict[str, list[Any]]:
    """Every row of every table but the audit trail, without when something was last used."""
    with in_database(app), db.engine.connect() as connection:
        return {
            table.name: connection.execute(
                select(*(column for column in table.columns if (table.name, column.name) not in LAST_USED))
            ).all()
            for table in db.metadata.sorted_tables
            if table.name != "audit_events"
        }


@pytest.fixture
def browser(app: APIFlask, alice: Person) -> FlaskClient:
    """Alice's."""
    return signed_in_visitor(app, alice).client


@pytest.fixture
def readers(app: APIFlask, alice: Person, world: World) -> list[FlaskClient]:
    machine = app.test_client()
    machine.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {world.api_key}"
    return [signed_in(app, alice.subject), machine]


def test_reading_everything_changes_nothing(app, world, readers, browser):
    before = everything(app)
    found = {url: browser.get(url).status_code for url in pages(app, world)}
    assert {url for url, status in found.items() if status != 200} <= LEAD_ON
    people, machine = readers
    answers = [(url, people.get(url, query_string=query)) for url, query in reads(app, world)]
    assert {url for url, answer in answers if answer.status_code != 200} == set()
    assert len(answers) > 30
    for url, query in reads(app, world):
        assert machine.get(url, query_string=query).status_code in (200, 403), url
    scrape_counted(app)
    assert everything(app) == before


def test_nothing_that_can_be_read_shows_a_secret(app, client, bob, world, readers, browser, caplog):
    shown = []
    for reader in (browser, client):
        for url in pages(app, world):
            answer = reader.get(url)
            shown.append(f"{answer.text} {answer.headers}")
    for reader in (*readers, bob.client, client):
        for url, query in reads(app, world):
            answer = reader.get(url, query_string=query)
            shown.append(f"{answer.text} {answer.headers}")
            if following := (answer.json or {}).get("next") if answer.is_json else None:
                shown.append(reader.get(url, query_string=query | {"cursor": following}).text)
    for query in ({"action": CANARY[:9]}, {"unknown": CANARY}, {"actor_id": CANARY}, {"cursor": CANARY}):
        shown.append(readers[0].get("/api/audit-events", query_string=query).text)
    shown.append(scrape_counted(app).text)
    run: Callable[..., Any] = app.test_cli_runner().invoke
    for command in (
        ["audit", "list", "--limit", "200"],
        ["audit", "list", "--tenant", "acme"],
        ["audit", "seal"],
        ["audit", "verify"],
        ["encryption", "status"],
        ["encryption", "status", "--json"],
        ["encryption", "verify"],
        ["mail", "status"],
        ["mail", "status", "--json"],
    ):
        done = run(args=command)
        assert done.exit_code == 0, done.output
        shown.append(done.output)
    assert "phone_system.created" in "".join(shown)
    assert [text for text in [*shown, caplog.text] if holds_canary(text)] == []
    text = "".join([*shown, caplog.text])
    assert [secret for secret in world.secrets if secret in text or quote(secret) in text] == []
