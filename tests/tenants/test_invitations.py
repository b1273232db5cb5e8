"""From an invitation to a membership."""

import pytest
from limits import parse
from sqlalchemy import update

from app.extensions import db
from app.identity.models import Membership, User
from app.identity.one_time import fingerprint
from app.limits.limit import Limit
from app.tenants.models import Invitation
from tests.conftest import PASSWORD, in_database
from tests.one_time import contents, expire, grow_stale, is_refused_link, is_stale, post, twenty_at_once

DORA = "dora@acme.example"
NEW = "a new password"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def invite(person, email=DORA, role="member"):
    return post(person.client, "/api/invitations", email=email, role=role)


def accept(client, token, **more):
    return post(client, "/api/invitations/accept", token=token, **more)


def sign_in(client, email, password, **more):
    return post(client, "/api/login", email=email, password=password, **more)


def set_membership(app, person, **values):
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == person.user_id).values(**values))
        db.session.commit()


def test_somebody_new_joins_with_a_password_of_their_own(app, client, alice, mailbox, caplog):
    created = invite(alice, role="admin")
    assert created.status_code == 201
    assert created.json.items() >= {"email": DORA, "role": "admin", "invited_by": alice.email}.items()
    assert alice.client.get("/api/invitations").json["items"] == [created.json]
    assert alice.client.get(created.headers["Location"]).json == created.json
    assert mailbox.subjects(DORA) == ["“Acme” invites you to AudiaPro"]
    token = mailbox.token(DORA)
    needed = accept(client, token)
    assert (needed.status_code, needed.json["errors"][0]["field"]) == (422, "password")
    joined = accept(client, token, password=NEW)
    assert (joined.status_code, joined.json["role"], joined.json["tenant"]["subdomain"]) == (200, "admin", "acme")
    assert sign_in(client, DORA, NEW).status_code == 200
    assert alice.client.get("/api/invitations").json["items"] == []
    assert is_refused_link(accept(client, token, password="another password"))
    assert sign_in(client, DORA, NEW).status_code == 200
    assert token not in created.text + caplog.text


def test_who_has_an_account_joins_with_it(client, alice, charlie, mailbox):
    invite(alice, charlie.email)
    token = mailbox.token(charlie.email)
    refused = accept(client, token, password=NEW)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "password")
    assert accept(client, token).json["user"]["id"] == str(charlie.user_id)
    assert sign_in(client, charlie.email, PASSWORD, tenant="acme").status_code == 200
    assert charlie.client.get("/api/me").json["tenant"]["subdomain"] == "others"


@on_sqlite
def test_owners_invite_everybody_admins_no_owners_and_members_nobody(app, alice, bob, charlie, mailbox):
    assert invite(bob).status_code == bob.client.get("/api/invitations").status_code == 403
    set_membership(app, bob, role="admin")
    for person, role, status in ((bob, "owner", 403), (bob, "admin", 201), (alice, "owner", 201)):
        assert invite(person, f"{role}@x.example", role).status_code == status
    assert invite(alice, "x@x.example", "root").status_code == 422
    assert charlie.client.get("/api/invitations").json["items"] == []
    grow_stale(app)
    location = alice.client.get("/api/invitations").json["items"][0]["id"]
    assert is_stale(invite(alice))
    assert is_stale(alice.client.delete(f"/api/invitations/{location}"))


@on_sqlite
def test_an_admin_neither_replaces_nor_takes_back_an_invitation_of_an_owner(app, alice, bob, mailbox):
    set_membership(app, bob, role="admin")
    url = invite(alice, role="owner").headers["Location"]
    before = alice.client.get(url).json
    assert [invite(bob).status_code, bob.client.delete(url).status_code] == [403, 403]
    assert alice.client.get(url).json == before
    assert alice.client.delete(url).status_code == 204


@on_sqlite
def test_a_tenant_sends_so_many_invitations_and_does_not_use_up_those_of_others(app, alice, bob, charlie, mailbox):
    app.extensions["rates"] = {**app.extensions["rates"], Limit.INVITATIONS: parse("4 per day")}
    assert [invite(charlie).status_code for _ in range(4)] == [201, 201, 201, 429]
    refused = invite(charlie, "ellen@x.example")
    assert (refused.status_code, "invitations" in refused.json["detail"]) == (429, True)
    assert invite(alice).status_code == 201


@on_sqlite
def test_inviting_again_replaces_the_invitation_and_members_are_not_invited(client, alice, bob, mailbox):
    invite(alice, role="owner")
    first = mailbox.token(DORA)
    invite(alice, role="member")
    (left,) = alice.client.get("/api/invitations").json["items"]
    assert left["role"] == "member"
    assert is_refused_link(accept(client, first, password=NEW))
    assert accept(client, mailbox.token(DORA), password=NEW).json["role"] == "member"
    assert [invite(alice, email).status_code for email in (DORA, bob.email, bob.email.upper())] == [409] * 3


def revoke(app, alice, bob):
    (invitation,) = alice.client.get("/api/invitations").json["items"]
    assert alice.client.delete(f"/api/invitations/{invitation['id']}").status_code == 204


def remove_inviter(app, alice, bob):
    with in_database(app):
        db.session.delete(db.session.query(Membership).filter_by(user_id=bob.user_id).one())
        db.session.commit()


BECOMES_VOID = {
    "revoked": revoke,
    "expired": lambda app, alice, bob: expire(app, Invitation),
    "tenant suspended": lambda app, alice, bob: app.test_cli_runner().invoke(args=["suspend-tenant", "acme"]),
    "inviter demoted": lambda app, alice, bob: set_membership(app, bob, role="member"),
    "inviter disabled here": lambda app, alice, bob: set_membership(app, bob, disabled_at=Membership.created_at),
    "inviter disabled": lambda app, alice, bob: app.test_cli_runner().invoke(args=["disable-user", bob.email]),
    "inviter removed": remove_inviter,
}


@pytest.mark.parametrize("change", BECOMES_VOID.values(), ids=BECOMES_VOID.keys())
def test_one_refusal_answers_whatever_makes_an_invitation_void(app, client, alice, bob, mailbox, change):
    set_membership(app, bob, role="admin")
    invite(bob)
    token = mailbox.token(DORA)
    change(app, alice, bob)
    assert is_refused_link(accept(client, token, password=NEW))
    with in_database(app):
        assert db.session.query(User).filter_by(email=DORA).count() == 0


@on_sqlite
def test_an_owner_who_became_an_admin_has_invited_no_owner(app, client, alice, mailbox):
    invite(alice, role="owner")
    set_membership(app, alice, role="admin")
    assert is_refused_link(accept(client, mailbox.token(DORA), password=NEW))


@on_sqlite
def test_who_became_a_member_in_another_way_is_told(app, client, alice, charlie, mailbox):
    invite(alice, charlie.email)
    app.test_cli_runner().invoke(args=["create-user", charlie.email, "--tenant", "acme"])
    assert accept(client, mailbox.token(charlie.email)).status_code == 409


@on_sqlite
def test_the_token_is_in_the_mail_alone(app, alice, mailbox):
    invite(alice)
    token = mailbox.token(DORA)
    stored = contents(app)
    assert fingerprint(token) in stored
    assert token not in stored


def test_of_twenty_uses_at_once_one_wins(app, client, alice, mailbox):
    invite(alice)
    token = mailbox.token(DORA)
    assert twenty_at_once(app, "/api/invitations/accept", token=token, password=NEW) == [200] + [422] * 19
    assert len([it for it in alice.client.get("/api/members").json["items"] if it["email"] == DORA]) == 1
