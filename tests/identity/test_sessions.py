from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import update

from app.database import now
from app.extensions import db
from app.identity import sessions
from app.identity.models import Membership, UserSession
from tests.conftest import PASSWORD, Person, in_database, running

BROWSER = "Browser/1.0"


def sign_in(client, person, **body):
    answer = client.post(
        "/api/login", json={"email": person.email, "password": PASSWORD, **body}, headers={"User-Agent": BROWSER}
    )
    assert answer.status_code == 200, answer.json
    return answer.json


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def me(client, signed):
    return client.get("/api/me", headers=bearer(signed["access_token"])).status_code


def refresh(client, token):
    return client.post("/api/refresh", headers=bearer(token))


def change(app, statement):
    with in_database(app):
        db.session.execute(statement)
        db.session.commit()


def test_what_a_client_calls_itself_is_stored_without_control_characters(app, client, alice):
    agent = {"HTTP_USER_AGENT": "Bro\0wser\x1b/1.0 \u2028ü"}
    body = {"email": alice.email, "password": PASSWORD}
    assert client.post("/api/login", json=body, environ_overrides=agent).status_code == 200
    assert alice.client.get("/api/sessions").json["items"][0]["user_agent"] == "Browser/1.0 ü"


class TestRefreshTokens:
    def test_each_is_good_for_one_use_which_gives_the_next(self, client, alice):
        token = sign_in(client, alice)["refresh_token"]
        for _ in range(3):
            answer = refresh(client, token)
            assert answer.status_code == 200
            assert answer.json["refresh_token"] != token
            assert me(client, answer.json) == 200
            token = answer.json["refresh_token"]

    def test_one_that_is_used_again_ends_its_session_and_no_other(self, client, alice, caplog):
        caplog.set_level("INFO", "app.audit")
        stolen, other = sign_in(client, alice), sign_in(client, alice)
        follower = refresh(client, stolen["refresh_token"]).json
        again = refresh(client, stolen["refresh_token"])
        assert again.status_code == 401
        assert "used before" in again.json["detail"]
        assert "session.replayed" in caplog.text
        assert refresh(client, follower["refresh_token"]).status_code == 401
        assert me(client, follower) == me(client, stolen) == 401
        assert me(client, other) == 200

    def test_of_twenty_uses_at_once_one_wins(self, app, alice):
        token = sign_in(app.test_client(), alice)["refresh_token"]
        together = Barrier(20)

        def use(_):
            client = app.test_client()
            together.wait()
            return refresh(client, token).status_code

        with ThreadPoolExecutor(20) as threads:
            assert sorted(threads.map(use, range(20))) == [200] + [401] * 19

    def test_a_renewal_does_not_prolong_the_session(self, settings, alice):
        with running(replace(settings, refresh_token_expires=timedelta(hours=1))) as app:
            app.extensions["encryption"].checked = True
            client = app.test_client()
            token = sign_in(client, alice)["refresh_token"]
            change(app, update(UserSession).values(started_at=now() - timedelta(minutes=59)))
            answer = refresh(client, token)
            assert answer.status_code == 200
            change(app, update(UserSession).values(started_at=now() - timedelta(minutes=61)))
            assert me(client, answer.json) == 401
            assert refresh(client, answer.json["refresh_token"]).status_code == 401

    def test_a_session_that_is_not_used_ends_sooner(self, settings, alice):
        with running(replace(settings, session_idle_expires=timedelta(minutes=30))) as app:
            app.extensions["encryption"].checked = True
            client = app.test_client()
            signed = sign_in(client, alice)
            change(app, update(UserSession).values(used_at=now() - timedelta(minutes=29)))
            signed = refresh(client, signed["refresh_token"]).json
            assert me(client, signed) == 200
            change(app, update(UserSession).values(used_at=now() - timedelta(minutes=31)))
            assert me(client, signed) == 401
            assert refresh(client, signed["refresh_token"]).status_code == 401


class TestOnesOwn:
    def test_they_are_listed_newest_first_with_what_tells_them_apart(self, client, alice):
        signed = sign_in(client, alice)
        answer = client.get("/api/sessions", headers=bearer(signed["access_token"]))
        newest, first = answer.json["items"]
        assert (newest["current"], first["current"]) == (True, False)
        assert (newest["user_agent"], newest["address"]) == (BROWSER, "127.0.0.1")
        assert newest["tenant"]["subdomain"] == "acme"
        assert "refresh_id" not in answer.text
        assert newest["id"] != first["id"] == str(alice.session_id)

    def test_signing_out_ends_the_session_that_asks(self, client, alice):
        signed, other = sign_in(client, alice), sign_in(client, alice)
        assert client.post("/api/logout", headers=bearer(signed["access_token"])).status_code == 204
        assert me(client, signed) == refresh(client, signed["refresh_token"]).status_code == 401
        assert me(client, other) == 200

    def test_one_can_be_ended_from_another(self, client, alice):
        lost, at_hand = sign_in(client, alice), sign_in(client, alice)
        listed = client.get("/api/sessions", headers=bearer(lost["access_token"])).json["items"]
        (lost_id,) = [item["id"] for item in listed if item["current"]]
        url = f"/api/sessions/{lost_id}"
        assert client.delete(url, headers=bearer(at_hand["access_token"])).status_code == 204
        assert me(client, lost) == 401
        assert me(client, at_hand) == 200
        assert client.delete(url, headers=bearer(at_hand["access_token"])).status_code == 404

    def test_signing_out_everywhere_ends_all_of_them_and_nobody_elses(self, client, alice, bob):
        signed = [sign_in(client, alice) for _ in range(2)]
        assert client.delete("/api/sessions", headers=bearer(signed[0]["access_token"])).status_code == 204
        assert {me(client, each) for each in signed} == {401}
        assert alice.client.get("/api/me").status_code == 401
        assert bob.client.get("/api/me").status_code == 200

    def test_those_of_a_colleague_or_a_stranger_are_neither_seen_nor_ended(self, alice, bob, charlie):
        for other in (alice, charlie):
            assert bob.client.delete(f"/api/sessions/{other.session_id}").status_code == 404
            assert other.client.get("/api/me").status_code == 200
        assert [item["id"] for item in bob.client.get("/api/sessions").json["items"]] == [str(bob.session_id)]

    def test_a_removed_members_sessions_go(self, app, bob):
        change(app, Membership.__table__.delete().where(Membership.user_id == bob.user_id))
        with in_database(app):
            assert db.session.get(UserSession, bob.session_id) is None

    def test_ended_ones_are_forgotten_in_the_end(self, app, client, alice):
        long_ago = now() - timedelta(days=1) - sessions.KEPT
        change(app, update(UserSession).values(started_at=long_ago, used_at=long_ago))
        sign_in(client, alice)
        with in_database(app):
            assert db.session.query(UserSession).filter_by(id=alice.session_id).count() == 0


class TestCommands:
    @pytest.fixture
    def run(self, app):
        return lambda *args, stdin="": app.test_cli_runner().invoke(args=list(args), input=stdin)

    @pytest.mark.parametrize(
        ("options", "ended"),
        [
            (["--user", "bob@acme.example"], {"bob"}),
            (["--tenant", "acme"], {"alice", "bob"}),
            (["--all"], {"alice", "bob", "charlie"}),
        ],
    )
    def test_tokens_are_revoked_from_the_next_request_on(self, run, cast: dict[str, Person], options, ended):
        result = run("revoke-tokens", *options)
        assert result.exit_code == 0
        assert f"{len(ended)} session" in result.output
        for name, person in cast.items():
            assert person.client.get("/api/me").status_code == (401 if name in ended else 200), name

    @pytest.mark.parametrize("options", [[], ["--all", "--tenant", "acme"]])
    def test_whose_tokens_must_be_said(self, run, alice, options):
        assert run("revoke-tokens", *options).exit_code == 2
        assert alice.client.get("/api/me").status_code == 200

    @pytest.mark.parametrize(
        "command",
        [
            ["revoke-tokens", "--user", "x@y.example"],
            ["revoke-tokens", "--tenant", "nowhere"],
            ["disable-user", "x@y.example"],
            ["suspend-tenant", "nowhere"],
            ["set-role", "x@y.example", "admin", "--tenant", "acme"],
            ["set-role", "charlie@others.example", "admin", "--tenant", "acme"],
            ["create-user", "x@y.example", "--tenant", "nowhere"],
        ],
    )
    def test_what_is_not_there_is_refused(self, run, cast, command):
        result = run(*command, stdin="a new password\n")
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert "Traceback" not in result.output

    def test_a_disabled_user_is_out_at_once_until_that_is_undone(self, run, client, bob):
        assert run("disable-user", bob.email).exit_code == 0
        assert bob.client.get("/api/me").status_code == 401
        refused = client.post("/api/login", json={"email": bob.email, "password": PASSWORD})
        unknown = client.post("/api/login", json={"email": "x@y.example", "password": PASSWORD})
        assert refused.status_code == 401
        assert refused.json["detail"] == unknown.json["detail"]
        assert run("disable-user", bob.email, "--undo").exit_code == 0
        assert me(client, sign_in(client, bob)) == 200
        assert bob.client.get("/api/me").status_code == 401

    def test_a_suspended_tenant_is_closed_to_its_members_until_that_is_undone(self, run, client, alice, charlie):
        assert run("suspend-tenant", "acme").exit_code == 0
        assert alice.client.get("/api/me").status_code == 401
        body = {"email": alice.email, "password": PASSWORD}
        assert client.post("/api/login", json=body).status_code == 401
        assert charlie.client.get("/api/me").status_code == 200
        assert run("suspend-tenant", "acme", "--undo").exit_code == 0
        assert me(client, sign_in(client, alice)) == 200

    def test_a_changed_password_ends_all_sessions(self, run, alice):
        assert run("set-password", alice.email, stdin="another password\n").exit_code == 0
        assert alice.client.get("/api/me").status_code == 401

    def test_a_role_is_changed_from_the_next_request_on(self, run, bob):
        assert bob.client.get("/api/phone-systems").status_code == 403
        assert run("set-role", bob.email, "admin", "--tenant", "acme").exit_code == 0
        assert bob.client.get("/api/phone-systems").status_code == 200

    def test_the_last_owner_stays_one(self, run, alice, bob):
        refused = run("set-role", alice.email, "admin", "--tenant", "acme")
        assert refused.exit_code == 1
        assert "last owner" in refused.output
        assert run("set-role", bob.email, "owner", "--tenant", "acme").exit_code == 0
        assert run("set-role", alice.email, "member", "--tenant", "acme").exit_code == 0

    def test_the_last_owner_of_a_tenant_is_not_disabled(self, run, alice, bob):
        refused = run("disable-user", alice.email)
        assert (refused.exit_code, "last owner of acme" in refused.output) == (1, True)
        assert alice.client.get("/api/me").status_code == 200
        assert run("set-role", bob.email, "owner", "--tenant", "acme").exit_code == 0
        assert run("disable-user", alice.email).exit_code == 0
        assert run("disable-user", bob.email).exit_code == 1
        assert run("suspend-tenant", "acme").exit_code == 0
        assert run("disable-user", bob.email).exit_code == 0

    def test_somebody_is_made_a_member(self, run, client, cast):
        dora = run("create-user", "dora@acme.example", "--tenant", "acme", "--role", "admin", stdin=f"{PASSWORD}\n")
        assert dora.exit_code == 0
        assert PASSWORD not in dora.output
        answer = client.post("/api/login", json={"email": "dora@acme.example", "password": PASSWORD})
        assert answer.status_code == 200
        # Charlie exists, and keeps his password.
        assert run("create-user", "charlie@others.example", "--tenant", "acme").exit_code == 0
        signed = sign_in(client, cast["charlie"], tenant="acme")
        assert me(client, signed) == 200
        again = run("create-user", "charlie@others.example", "--tenant", "acme")
        assert again.exit_code == 1
        assert "already" in again.output
