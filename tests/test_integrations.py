"""What holds for phone systems, payment accounts and API credentials alike."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select

from app.credentials.models import ApiCredential
from app.credentials.service import api_credentials
from app.encryption import sealed
from app.extensions import db
from app.payments.models import PaymentAccount
from app.payments.service import payment_accounts
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from tests.conftest import Person, in_database


@dataclass(frozen=True)
class Noun:
    url: str
    model: type
    secret: str
    minimal: dict[str, Any]
    full: dict[str, Any]
    change: dict[str, Any]  # one that does not touch where the secret is sent

    @property
    def named_by(self) -> tuple[str, ...]:
        """What people tell one by."""
        return ("name",) if "name" in self.minimal else ("provider", "mode")

    def create(self, person: Person, **more: Any) -> dict[str, Any]:
        answer = person.client.post(self.url, json=self.minimal | more)
        assert answer.status_code == 201, answer.json
        return answer.json | {"location": answer.headers["Location"]}


NOUNS = [
    Noun(
        url="/api/phone-systems",
        model=PhoneSystem,
        secret="password",
        minimal={"name": "Headquarters", "vendor": "asterisk"},
        full={
            "name": "Headquarters",
            "vendor": "grandstream",
            "base_url": "https://pbx.acme.example:8089/api",
            "username": "audiapro",
            "webhook_username": "pbx",
            "time_zone": "Europe/Zurich",
        },
        change={"name": "Branch"},
    ),
    Noun(
        url="/api/payment-accounts",
        model=PaymentAccount,
        secret="client_secret",
        minimal={"provider": "paypal", "mode": "sandbox"},
        full={"provider": "paypal", "mode": "live", "client_id": "AbC", "webhook_id": "WH-1"},
        change={"client_id": "other"},
    ),
    Noun(
        url="/api/api-credentials",
        model=ApiCredential,
        secret="secret",
        minimal={"name": "Maps", "provider": "acme"},
        full={"name": "Maps", "provider": "acme", "expires_at": "2030-01-31T12:00:00Z"},
        change={"name": "Routes"},
    ),
]


@pytest.fixture(params=NOUNS, ids=lambda noun: noun.url.removeprefix("/api/"))
def noun(request) -> Noun:
    return request.param


def stored_secret(app, noun, row):
    with in_database(app):
        return getattr(
            db.session.scalars(select(noun.model).where(noun.model.id == UUID(row["id"]))).one(), noun.secret
        )


def test_what_is_created_can_be_read(alice, noun):
    answer = alice.client.post(noun.url, json=noun.full | {noun.secret: "hunter2"})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{noun.url}/{answer.json['id']}"
    assert answer.json.items() >= noun.full.items()
    assert answer.json["notices"] == []
    shown = alice.client.get(answer.headers["Location"])
    assert shown.status_code == 200
    assert answer.json.items() >= shown.json.items()
    assert alice.client.get(noun.url).json == {"items": [shown.json], "next": None}


def test_only_the_names_are_required(alice, noun):
    created = noun.create(alice)
    assert created[f"{noun.secret}_set"] is False
    assert created[f"{noun.secret}_changed_at"] is None


@pytest.mark.parametrize("secret", ["x", " blanks stay ", "nul\0nul", "пароль 🔑", "x" * 4096, "v1:00000000:gAAAA"])
def test_a_secret_is_stored_as_it_was_sent_and_never_shown(app, alice, noun, secret):
    created = noun.create(alice, **{noun.secret: secret})
    assert created[f"{noun.secret}_set"] is True
    assert created[f"{noun.secret}_changed_at"].endswith("Z")
    assert noun.secret not in created
    assert noun.secret not in alice.client.get(created["location"]).json
    assert stored_secret(app, noun, created) == secret


def test_a_change_without_the_secret_keeps_it(app, alice, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    changed = alice.client.patch(created["location"], json=noun.change)
    assert changed.status_code == 200
    assert changed.json.items() >= noun.change.items()
    assert changed.json["notices"] == []
    assert changed.json[f"{noun.secret}_changed_at"] == created[f"{noun.secret}_changed_at"]
    assert changed.json["updated_at"] > created["updated_at"]
    assert stored_secret(app, noun, created) == "hunter2"


def test_text_replaces_the_secret_and_null_removes_it(app, alice, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    replaced = alice.client.patch(created["location"], json={noun.secret: "hunter3"})
    assert replaced.json[f"{noun.secret}_set"] is True
    assert replaced.json[f"{noun.secret}_changed_at"] > created[f"{noun.secret}_changed_at"]
    assert stored_secret(app, noun, created) == "hunter3"
    removed = alice.client.patch(created["location"], json={noun.secret: None})
    assert removed.json[f"{noun.secret}_set"] is False
    assert removed.json["notices"] == []
    assert stored_secret(app, noun, created) is None


def test_it_is_told_who_set_a_secret_last(alice, noun):
    by, set_at = f"{noun.secret}_changed_by", f"{noun.secret}_changed_at"
    created = noun.create(alice, **{noun.secret: None})
    assert (created[by], created[set_at]) == (None, None)
    assert alice.client.patch(created["location"], json={noun.secret: None}).json[by] is None, "there was nothing"
    assert alice.client.patch(created["location"], json={noun.secret: "hunter2"}).json[by] == alice.email
    key = alice.client.post("/api/api-keys", json={"name": "Deployment", "role": "admin"}).json["key"]
    machine = {"headers": {"Authorization": f"Bearer {key}"}}
    assert alice.client.patch(created["location"], json=noun.change, **machine).json[by] == alice.email
    assert alice.client.patch(created["location"], json={noun.secret: "hunter3"}, **machine).json[by] == "Deployment"
    assert noun.create(alice, **{noun.secret: "hunter2"})[by] == alice.email
    removed = alice.client.patch(created["location"], json={noun.secret: None}).json
    assert (removed[by], removed[set_at] is None) == (alice.email, False)
    assert alice.client.get(created["location"]).json[by] == alice.email
    shown = {item["id"]: item[by] for item in alice.client.get(noun.url).json["items"]}
    assert shown[created["id"]] == alice.email


def test_who_moves_where_a_secret_is_sent_has_removed_it(alice, noun):
    created = noun.create(alice, **noun.full | {noun.secret: "hunter2"})
    key = alice.client.post("/api/api-keys", json={"name": "Deployment", "role": "admin"}).json["key"]
    where = {"base_url": "https://new.example"} if "base_url" in created else {"provider": "other"}
    where = {"mode": "sandbox"} if "mode" in created else where
    moved = alice.client.patch(created["location"], json=where, headers={"Authorization": f"Bearer {key}"}).json
    assert (moved[f"{noun.secret}_set"], moved[f"{noun.secret}_changed_by"]) == (False, "Deployment")


def test_what_the_operator_sets_is_the_operators_and_not_an_account_of_the_server(app, alice, noun, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    with in_database(app):
        (service,) = [one for one in (phone_systems, payment_accounts, api_credentials) if one.model is noun.model]
        made = service.create(db.session(), alice.tenant_id, noun.minimal | {noun.secret: "hunter2"})
        location = f"{noun.url}/{made.id}"
    assert alice.client.get(location).json[f"{noun.secret}_changed_by"] == "the operator"


def test_every_secret_that_can_be_sent_is_guarded_and_what_cannot_is_not(client):
    """By PATCH; and each of them says who changed it."""
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    for service, changes, shown in (
        (phone_systems, "PhoneSystemChanges", "PhoneSystemOut"),
        (payment_accounts, "PaymentAccountChanges", "PaymentAccountOut"),
        (api_credentials, "ApiCredentialChanges", "ApiCredentialOut"),
    ):
        secret = {name for name, field in schemas[changes]["properties"].items() if "writeOnly" in str(field)}
        assert service.secrets == secret
        assert service.guarded == secret | set(service.sent_to)
        assert schemas[shown]["properties"].keys() >= {f"{name}_changed_by" for name in secret}


def test_an_empty_secret_is_refused(app, alice, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    assert alice.client.patch(created["location"], json={noun.secret: ""}).status_code == 422
    assert stored_secret(app, noun, created) == "hunter2"


def test_an_empty_change_changes_nothing(alice, noun):
    created = noun.create(alice)
    assert alice.client.patch(created["location"], json={}).json.items() <= created.items()
    told = alice.client.get("/api/audit-events", query_string={"object_id": created["id"]}).json["items"]
    assert [event["action"].partition(".")[2] for event in told] == ["created"]


def test_the_trail_has_what_people_call_it_also_when_it_is_gone(alice, noun):
    created = noun.create(alice)
    alice.client.patch(created["location"], json=noun.change)
    called = {name: (created | noun.change)[name] for name in noun.named_by}
    alice.client.delete(created["location"])
    told = alice.client.get("/api/audit-events", query_string={"object_id": created["id"]}).json["items"]
    assert [event["action"].partition(".")[2] for event in told] == ["deleted", "updated", "created"]
    assert told[0]["details"] == called
    assert told[1]["details"] == called | {"fields": sorted(noun.change)}
    assert told[2]["details"].items() >= {name: created[name] for name in noun.named_by}.items()


def test_what_is_deleted_is_gone(app, alice, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    kept = noun.create(alice)
    deleted = alice.client.delete(created["location"])
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert alice.client.get(created["location"]).status_code == 404
    assert alice.client.delete(created["location"]).status_code == 404
    assert [item["id"] for item in alice.client.get(noun.url).json["items"]] == [kept["id"]]


def attempts(client, noun, location):
    """Every route of the noun that names one object."""
    return [
        client.get(location),
        client.patch(location, json=noun.change),
        client.patch(location, json={noun.secret: "stolen"}),
        client.delete(location),
    ]


def test_another_tenants_object_looks_like_one_that_is_not_there(app, alice, charlie, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    theirs, unknown = (attempts(charlie.client, noun, url) for url in (created["location"], f"{noun.url}/{uuid4()}"))
    for one, other in zip(theirs, unknown, strict=True):
        assert one.status_code == 404
        assert one.json | {"request_id": ""} == other.json | {"request_id": ""}
    assert alice.client.get(created["location"]).json.items() <= created.items()
    assert stored_secret(app, noun, created) == "hunter2"
    assert charlie.client.get(noun.url).json == {"items": [], "next": None}


def test_what_is_no_id_is_not_found(alice, noun):
    for row_id in ("1", "x", "00000000-0000-0000-0000-00000000000g", "%00", "' OR 1=1"):
        for answer in attempts(alice.client, noun, f"{noun.url}/{row_id}"):
            assert answer.status_code == 404


def test_a_member_may_do_none_of_it(app, alice, bob, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    answers = [
        *attempts(bob.client, noun, created["location"]),
        bob.client.get(noun.url),
        bob.client.post(noun.url, json=noun.minimal),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert len(alice.client.get(noun.url).json["items"]) == 1
    assert stored_secret(app, noun, created) == "hunter2"


def test_a_stranger_may_do_none_of_it(client, alice, noun):
    created = noun.create(alice)
    answers = [
        *attempts(client, noun, created["location"]),
        client.get(noun.url),
        client.post(noun.url, json=noun.minimal),
    ]
    assert {answer.status_code for answer in answers} == {401}


def test_pages_are_newest_first_and_show_everything_once(alice, charlie, noun):
    ids = [noun.create(alice)["id"] for _ in range(5)]
    noun.create(charlie)
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = alice.client.get(noun.url, query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        pages += 1
    assert (seen, pages) == (ids[::-1], 3)


def test_a_cursor_leads_nobody_into_another_tenant(alice, charlie, noun):
    for _ in range(3):
        noun.create(alice)
    mine = noun.create(charlie)["id"]
    for _ in range(2):
        noun.create(alice)
    cursor = alice.client.get(noun.url, query_string={"limit": 1}).json["next"]
    page = charlie.client.get(noun.url, query_string={"cursor": cursor}).json
    assert [item["id"] for item in page["items"]] == [mine]


def test_reading_and_listing_decrypt_nothing(alice, noun, monkeypatch):
    created = noun.create(alice, **{noun.secret: "hunter2"})

    def refuse(*args):
        raise AssertionError("a secret was opened")

    monkeypatch.setattr(sealed, "open", refuse)
    assert alice.client.get(created["location"]).status_code == 200
    assert alice.client.get(noun.url).status_code == 200
    assert alice.client.patch(created["location"], json=noun.change).status_code == 200
    assert alice.client.delete(created["location"]).status_code == 204


def test_a_list_takes_the_same_number_of_queries_however_long_it_is(app, alice, noun):
    statements: list[str] = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for _ in range(2):
        noun.create(alice)
        statements.clear()
        alice.client.get(noun.url)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_tenant_id_in_the_request_is_refused(app, alice, charlie, noun):
    body = noun.minimal | {"tenant_id": str(charlie.tenant_id)}
    assert alice.client.post(noun.url, json=body).status_code == 422
    created = noun.create(alice)
    assert alice.client.patch(created["location"], json={"tenant_id": str(charlie.tenant_id)}).status_code == 422
    with in_database(app):
        assert db.session.scalar(select(func.count()).where(noun.model.tenant_id == charlie.tenant_id)) == 0
