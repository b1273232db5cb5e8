"""Who may change whom in a team, and that somebody always owns it."""

from functools import partial

import pytest
from sqlalchemy import select, update

from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, User
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database, signed_in
from tests.one_time import grow_stale, is_stale, post
from tests.test_versions import all_at_once

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def team(app, alice, bob, password_hash):
    """A client and a path for each: two owners, Alice and Olivia; two admins, Adam and Agnes; two members."""
    clients, paths = {"alice": alice.client, "bob": bob.client}, {}
    with in_database(app):
        acme = db.session.get(Tenant, alice.tenant_id)
        for name, role in (("olivia", "owner"), ("adam", "admin"), ("agnes", "admin"), ("maud", "member")):
            user = User(email=f"{name}@acme.example", password_hash=password_hash)
            membership = Membership(user=user, tenant=acme, role=role)
            db.session.add(membership)
            db.session.commit()
            started = sessions.start(db.session(), membership, None, "")
            clients[name] = signed_in(app, tokens.Subject(user.id, acme.id, started.id))
        for membership in db.session.scalars(select(Membership).where(Membership.tenant_id == acme.id)):
            paths[membership.user.email.partition("@")[0]] = f"/api/members/{membership.id}"
    return clients, paths


def roles(app):
    with in_database(app):
        rows = db.session.execute(select(User.email, Membership.role, Membership.disabled_at).join(Membership.user))
        return {email.partition("@")[0]: (role, disabled is not None) for email, role, disabled in rows}


@on_sqlite
def test_owners_and_admins_see_the_team_and_nobody_else_does(team, alice, bob, charlie):
    listed = alice.client.get("/api/members").json["items"]
    assert bob.client.get("/api/members").status_code == 403
    assert bob.client.get(f"/api/members/{listed[-1]['id']}").status_code == 403
    assert [it["email"].partition("@")[0] for it in listed] == ["maud", "agnes", "adam", "olivia", "bob", "alice"]
    assert listed[-1].items() >= {"role": "owner", "disabled": False, "version": 1}.items()
    assert listed[-1]["last_seen_at"] is not None
    assert listed[0].keys() == {
        "id", "email", "role", "disabled", "second_factor", "last_seen_at", "version", "created_at", "updated_at"
    }  # fmt: skip
    assert alice.client.get(f"/api/members/{listed[-1]['id']}").json == listed[-1]
    assert alice.client.get("/api/members?limit=2").json["next"]
    assert alice.client.get("/api/me").json["membership_id"] == listed[-1]["id"]
    assert [it["email"] for it in charlie.client.get("/api/members").json["items"]] == [charlie.email]


@on_sqlite
@pytest.mark.parametrize(
    ("actor", "member", "changes", "status"),
    [
        ("alice", "bob", {"role": "owner"}, 200),
        ("alice", "olivia", {"role": "member"}, 200),
        ("alice", "adam", {"disabled": True}, 200),
        ("alice", "alice", {"role": "admin"}, 200),
        ("adam", "bob", {"role": "admin"}, 200),
        ("adam", "agnes", {"role": "member", "disabled": True}, 200),
        ("adam", "adam", {"role": "member"}, 200),
        ("adam", "bob", {"role": "owner"}, 403),
        ("adam", "adam", {"role": "owner"}, 403),
        ("adam", "alice", {"role": "member"}, 403),
        ("adam", "alice", {"disabled": True}, 403),
        ("bob", "maud", {"role": "admin"}, 403),
        ("bob", "bob", {"role": "admin"}, 403),
        ("bob", "bob", {"disabled": False}, 403),
        ("alice", "bob", {"role": "root"}, 422),
        ("alice", "bob", {"role": None}, 422),
        ("alice", "bob", {"disabled": "yes"}, 422),
        ("alice", "bob", {"email": "x@x.example"}, 422),
        ("alice", "bob", {"tenant_id": "0"}, 422),
    ],
)
def test_owners_change_everybody_admins_no_owners_and_members_nobody(app, team, actor, member, changes, status):
    clients, paths = team
    before = roles(app)
    answer = clients[actor].patch(paths[member], json=changes)
    assert answer.status_code == status
    if status == 200:
        assert (answer.json["version"], answer.json.items() >= changes.items()) == (2, True)
        assert clients["olivia"].get(paths[member]).json == answer.json
    else:
        assert roles(app) == before


@on_sqlite
@pytest.mark.parametrize(
    ("actor", "member", "status"),
    [
        ("alice", "olivia", 204),
        ("alice", "bob", 204),
        ("alice", "alice", 204),
        ("adam", "agnes", 204),
        ("adam", "adam", 204),
        ("bob", "bob", 204),
        ("adam", "alice", 403),
        ("bob", "maud", 403),
    ],
)
def test_owners_remove_everybody_admins_no_owners_and_everybody_may_leave(app, team, actor, member, status):
    clients, paths = team
    assert clients[actor].delete(paths[member]).status_code == status
    assert (member in roles(app)) == (status != 204)
    assert clients[member].get("/api/me").status_code == (401 if status == 204 else 200)


@on_sqlite
def test_changing_and_removing_need_a_fresh_sign_in_and_the_version_that_was_read(app, team):
    clients, paths = team
    assert clients["alice"].patch(paths["bob"], json={"role": "admin", "version": 1}).status_code == 200
    assert clients["olivia"].patch(paths["bob"], json={"role": "owner", "version": 1}).status_code == 409
    assert clients["olivia"].delete(paths["bob"] + "?version=1").status_code == 409
    assert roles(app)["bob"] == ("admin", False)
    grow_stale(app)
    assert is_stale(clients["alice"].patch(paths["bob"], json={"role": "owner"}))
    assert is_stale(clients["alice"].delete(paths["bob"]))


def test_a_change_counts_from_the_next_request_on(app, client, alice, team):
    clients, paths = team
    assert clients["adam"].get("/api/phone-systems").status_code == 200
    assert clients["alice"].patch(paths["adam"], json={"role": "member"}).status_code == 200
    assert clients["adam"].get("/api/phone-systems").status_code == 403
    assert clients["alice"].patch(paths["adam"], json={"role": "admin"}).json["version"] == 3
    assert clients["adam"].get("/api/phone-systems").status_code == 200
    assert clients["alice"].delete(paths["adam"]).status_code == 204
    assert clients["adam"].get("/api/me").status_code == 401


def test_a_disabled_member_is_out_of_this_tenant_alone_until_that_is_undone(app, client, alice, bob, charlie, team):
    clients, paths = team
    app.test_cli_runner().invoke(args=["create-user", bob.email, "--tenant", "others"])
    assert clients["alice"].patch(paths["bob"], json={"disabled": True}).json["disabled"] is True
    assert bob.client.get("/api/me").status_code == 401
    body = {"email": bob.email, "password": PASSWORD}
    assert post(client, "/api/login", **body, tenant="acme").status_code == 401
    assert post(client, "/api/login", **body).status_code == 200  # to the other one
    assert clients["alice"].patch(paths["bob"], json={"disabled": False}).json["disabled"] is False
    assert bob.client.get("/api/me").status_code == 401  # that session has ended
    assert post(client, "/api/login", **body, tenant="acme").status_code == 200


@on_sqlite
def test_a_disabled_member_is_kept_out_even_where_a_session_was_left_open(app, bob):
    with in_database(app):
        disabled = update(Membership).where(Membership.user_id == bob.user_id)
        db.session.execute(disabled.values(disabled_at=Membership.created_at))
        db.session.commit()
    assert bob.client.get("/api/me").status_code == 401


@on_sqlite
def test_the_last_owner_who_can_sign_in_stays_one(app, alice, team):
    clients, paths = team
    steps = [
        partial(clients["alice"].patch, paths["alice"], json={"role": "admin"}),
        partial(clients["alice"].patch, paths["alice"], json={"disabled": True}),
        partial(clients["alice"].delete, paths["alice"]),
    ]
    assert clients["alice"].patch(paths["olivia"], json={"disabled": True}).status_code == 200
    answers = [step() for step in steps]
    with in_database(app):
        db.session.execute(update(User).where(User.email.startswith("olivia")).values(disabled_at=User.created_at))
        db.session.execute(update(Membership).values(disabled_at=None))
        db.session.commit()
    answers += [step() for step in steps]
    result = app.test_cli_runner().invoke(args=["set-role", alice.email, "admin", "--tenant", "acme"])
    assert (result.exit_code, "last owner" in result.output) == (1, True)
    assert clients["alice"].patch(paths["olivia"], json={"role": "member"}).status_code == 200
    answers += [step() for step in steps]
    assert [(answer.status_code, "last owner" in answer.json["detail"]) for answer in answers] == [(409, True)] * 9
    assert roles(app)["alice"] == ("owner", False)
    assert clients["alice"].patch(paths["alice"], json={"role": "owner", "disabled": False}).status_code == 200


AGAINST_EACH_OTHER = {
    "demote": lambda client, path: client.patch(path, json={"role": "member"}),
    "disable": lambda client, path: client.patch(path, json={"disabled": True}),
    "remove": lambda client, path: client.delete(path),
}


@pytest.mark.parametrize("each", ["the other", "themselves"])
@pytest.mark.parametrize("step", AGAINST_EACH_OTHER.values(), ids=AGAINST_EACH_OTHER.keys())
def test_of_two_owners_who_go_at_once_one_stays(app, team, step, each):
    clients, paths = team
    members = ("olivia", "alice") if each == "the other" else ("alice", "olivia")
    asked = zip(("alice", "olivia"), members, strict=True)
    answers = all_at_once(*(partial(step, clients[actor], paths[member]) for actor, member in asked))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] in (200, 204)
    assert statuses[1] in ((401, 403) if each == "the other" else (409,))
    assert list(roles(app).values()).count(("owner", False)) == 2  # one of them, and Charlie of his tenant
