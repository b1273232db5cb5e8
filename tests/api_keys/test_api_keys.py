import re
from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from app.api_keys import authentication
from app.api_keys.models import ApiKey
from app.database import now
from app.encryption import sealed
from app.extensions import db
from app.identity.models import Membership, Role
from app.mail.models import Mail
from tests.conftest import in_database, wait_for_senders
from tests.test_conventions import PEOPLE_ONLY

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
STORED = ApiKey.__table__.c.token_hash_encrypted
PHONE_SYSTEM = {"name": "Headquarters", "vendor": "asterisk", "password": "s3cret"}


def make(person, role="member", **more):
    answer = person.client.post("/api/api-keys", json={"name": "Wallboard", "role": role, **more})
    assert answer.status_code == 201, answer.json
    return answer.json


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def change(app, statement):
    with in_database(app):
        db.session.execute(statement)
        db.session.commit()


@pytest.fixture
def calls(client):
    """The answer to a request for calls with some key."""
    return lambda key: client.get("/api/calls", headers=bearer(key))


class TestMaking:
    def test_the_key_is_shown_once_and_told_apart_by_its_prefix(self, alice):
        made = make(alice, "admin", expires_at="2030-01-31T12:00:00Z")
        key = made.pop("key")
        assert re.fullmatch(r"audiapro_[a-z2-7]{12}_[a-z2-7]{52}", key)
        assert made["prefix"] == key.split("_")[1]
        assert (made["name"], made["role"], made["created_by"]) == ("Wallboard", "admin", alice.email)
        assert (made["expires_at"], made["last_used_at"]) == ("2030-01-31T12:00:00Z", None)
        other = make(alice)
        listed = alice.client.get("/api/api-keys")
        assert [item["id"] for item in listed.json["items"]] == [other["id"], made["id"]]
        assert listed.json["items"][1] == made == alice.client.get(f"/api/api-keys/{made['id']}").json
        assert key.split("_")[2] not in listed.text

    def test_the_owners_of_the_tenant_are_told(self, app, alice, bob, charlie):
        change(app, update(Membership).where(Membership.user_id == bob.user_id).values(role=Role.ADMIN))
        assert bob.client.post("/api/api-keys", json={"name": "Wallboard", "role": "admin"}).status_code == 201
        wait_for_senders()
        with in_database(app):
            assert list(db.session.scalars(select(Mail.kind))) == ["new_api_key"]

    @pytest.mark.parametrize(
        "body",
        [
            {"role": "owner"},
            {"role": None},
            {"name": ""},
            {"expires_at": "2020-01-31T12:00:00Z"},
            {"expires_at": "2030-01-31T12:00:00"},
            {"prefix": "aaaaaaaaaaaa"},
            {"key": "audiapro_"},
            {"tenant_id": "0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a"},
        ],
    )
    @only_sqlite
    def test_what_cannot_be_one_is_refused(self, alice, body):
        answer = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "member", **body})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, next(iter(body)))
        assert alice.client.get("/api/api-keys").json["items"] == []

    @only_sqlite
    def test_only_owners_and_admins_in_person_may(self, app, client, alice, bob):
        made = make(alice, "admin")
        url = f"/api/api-keys/{made['id']}"
        for method, path in (("POST", "/api/api-keys"), ("GET", "/api/api-keys"), ("GET", url), ("DELETE", url)):
            body = {"name": "Wallboard", "role": "member"} if method == "POST" else None
            assert bob.client.open(path, method=method, json=body).status_code == 403
            answer = client.open(path, method=method, json=body, headers=bearer(made["key"]))
            assert (answer.status_code, "API key" in answer.json["detail"]) == (403, True)
        assert [item["id"] for item in alice.client.get("/api/api-keys").json["items"]] == [made["id"]]


class TestUsing:
    def test_a_members_key_sees_calls_and_an_admins_keeps_integrations_too(self, client, alice, bob):
        member, admin = make(alice)["key"], make(alice, "admin")["key"]
        created = client.post("/api/phone-systems", json=PHONE_SYSTEM, headers=bearer(admin))
        assert created.status_code == 201
        location = created.headers["Location"]
        changed = client.patch(location, json={"password": "new"}, headers=bearer(admin))
        assert changed.status_code == 200, "a key needs no fresh sign-in"
        assert alice.client.get(location).json["version"] == 2
        for key, status in ((member, 403), (admin, 200)):
            assert client.get("/api/calls", headers=bearer(key)).status_code == 200
            for path in ("/api/phone-systems", "/api/audit-events"):
                assert client.get(path, headers=bearer(key)).status_code == status
        assert client.delete(location, headers=bearer(member)).status_code == 403
        assert client.delete(location, headers=bearer(admin)).status_code == 204

    @only_sqlite
    def test_the_audit_trail_names_it(self, client, alice):
        made = make(alice, "admin")
        client.post("/api/phone-systems", json=PHONE_SYSTEM, headers=bearer(made["key"]))
        alice.client.delete(f"/api/api-keys/{made['id']}")
        deleted, used, created = alice.client.get("/api/audit-events", query_string={"limit": 3}).json["items"]
        assert [event["action"] for event in (created, used, deleted)] == [
            "api_key.created",
            "phone_system.created",
            "api_key.deleted",
        ]
        assert used["actor"] == {"type": "api_key", "id": made["id"], "name": "Wallboard"}
        assert created["object_id"] == deleted["object_id"] == made["id"]
        assert created["details"] == {"name": "Wallboard", "role": "admin", "expires_at": None}

    def test_it_opens_its_own_tenant_alone(self, client, alice, charlie):
        location = alice.client.post("/api/phone-systems", json=PHONE_SYSTEM).headers["Location"]
        before = alice.client.get(location).json
        theirs = make(charlie, "admin")["key"]
        assert client.get("/api/phone-systems", headers=bearer(theirs)).json["items"] == []
        for method in ("GET", "PATCH", "DELETE"):
            body = {"name": "Theirs"} if method == "PATCH" else None
            assert client.open(location, method=method, json=body, headers=bearer(theirs)).status_code == 404
        assert alice.client.get(location).json == before

    def test_what_is_about_people_it_may_not_do(self, app, client, alice):
        headers = bearer(make(alice, "admin")["key"])
        tried = set()
        for rule in app.url_map.iter_rules():
            name = rule.endpoint.partition(".")[0]
            if app.extensions["access"].get(name) in PEOPLE_ONLY:
                url = re.sub(r"<[^>]+>", str(alice.session_id), rule.rule)
                for method in rule.methods - {"HEAD", "OPTIONS"}:
                    answer = client.open(url, method=method, headers=headers)
                    assert (answer.status_code, "API key" in answer.json["detail"]) == (403, True), (method, url)
                    tried.add(name)
        assert tried >= {"me", "sessions", "logout", "reauthenticate", "refresh", "second_factor", "api_keys"}
        assert alice.client.get("/api/me").status_code == 200

    def test_it_stays_when_whoever_made_it_goes(self, app, calls, alice, bob):
        change(app, update(Membership).where(Membership.user_id == bob.user_id).values(role=Role.ADMIN))
        key = make(bob)["key"]
        change(app, Membership.__table__.delete().where(Membership.user_id == bob.user_id))
        assert calls(key).status_code == 200
        assert alice.client.get("/api/api-keys").json["items"][0]["created_by"] == bob.email

    def test_its_use_is_noted_once_a_minute(self, app, calls, alice):
        made = make(alice)
        updates = []

        def count(conn, cursor, statement, *args):
            updates.extend([statement] if statement.startswith("UPDATE api_keys") else [])

        with app.app_context():
            event.listen(db.engine, "before_cursor_execute", count)
        assert [calls(made["key"]).status_code for _ in range(3)] == [200] * 3
        assert len(updates) == 1
        shown = alice.client.get(f"/api/api-keys/{made['id']}").json["last_used_at"]
        change(app, update(ApiKey).values(last_used_at=now() - timedelta(seconds=61)))
        del updates[:]
        assert [calls(made["key"]).status_code for _ in range(2)] == [200] * 2
        assert len(updates) == 1
        assert alice.client.get(f"/api/api-keys/{made['id']}").json["last_used_at"] >= shown


class TestRefusal:
    def test_expired_deleted_suspended_unknown_and_wrong_get_one_answer(self, app, calls, alice, charlie):
        run = app.test_cli_runner().invoke
        deleted, expired, wrong, suspended = make(alice), make(alice), make(alice)["key"], make(charlie)["key"]
        assert {calls(key).status_code for key in (deleted["key"], expired["key"], wrong, suspended)} == {200}
        assert alice.client.delete(f"/api/api-keys/{deleted['id']}").status_code == 204
        change(app, update(ApiKey).where(ApiKey.prefix == expired["prefix"]).values(expires_at=now()))
        assert run(args=["suspend-tenant", "others"]).exit_code == 0
        unknown = authentication.make_key().text
        last = "a" if wrong[-1] != "a" else "b"
        tried = [deleted["key"], expired["key"], suspended, unknown, wrong[:-1] + last, wrong[:-1], wrong + "a"]
        tried += [wrong.upper().replace("AUDIAPRO", "audiapro"), f"{wrong}, Bearer {wrong}", "audiapro_", f"{wrong} "]
        answers = [calls(key) for key in tried]
        assert [answer.status_code for answer in answers] == [401] * len(tried)
        assert len({answer.json["detail"] for answer in answers}) == 1
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
        assert calls(wrong).status_code == 200
        assert run(args=["suspend-tenant", "others", "--undo"]).exit_code == 0
        assert calls(suspended).status_code == 200

    @only_sqlite
    def test_it_works_nowhere_but_in_the_header(self, client, alice):
        key = make(alice)["key"]
        client.set_cookie("access_token_cookie", key)
        assert client.get("/api/calls", query_string={"api_key": key}).status_code in (401, 422)
        for headers in (
            {"X-Api-Key": key},
            {"Authorization": key},
            {"Authorization": f"Token {key}"},
            {"Authorization": f"Bearer  {key}"},
        ):
            assert client.get("/api/calls", headers=headers).status_code == 401
        assert client.get("/api/calls", auth=(key, "")).status_code == 401
        assert client.get("/api/calls", auth=("pbx", key)).status_code == 401

    @only_sqlite
    def test_one_value_is_opened_whatever_is_sent_and_none_for_a_list(self, calls, alice, monkeypatch):
        made = make(alice)
        opened = []
        open_sealed = sealed.open
        monkeypatch.setattr(sealed, "open", lambda *args: opened.append(args[1].column) or open_sealed(*args))
        wrong = made["key"][:-4] + "aaaa"
        for key in (made["key"], wrong, authentication.make_key().text, "audiapro_x"):
            del opened[:]
            calls(key)
            assert opened.count("api_keys.token_hash") == 1
        del opened[:]
        assert alice.client.get("/api/api-keys").status_code == 200
        assert "api_keys.token_hash" not in opened

    @only_sqlite
    def test_a_hash_that_was_moved_to_another_key_opens_nothing(self, app, calls, alice):
        first, second = make(alice), make(alice, "admin")
        with in_database(app):
            moved = (
                "UPDATE api_keys SET token_hash_encrypted = (SELECT token_hash_encrypted FROM api_keys WHERE id = ?)"
            )
            db.session.connection().exec_driver_sql(moved, (first["id"].replace("-", ""),))
            db.session.commit()
        assert calls(first["key"]).status_code == 200
        assert calls(second["key"]).status_code == 503
