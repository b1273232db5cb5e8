"""What happens to accounts and teams is in the audit trail, under the name of who had the link."""

import pyotp
import pytest
from sqlalchemy import select

from app.audit.models import AuditEvent
from app.extensions import db
from tests.conftest import PASSWORD, in_database
from tests.one_time import post

DORA, EVE = "dora@acme.example", "eve@eve.example"
NEW = "a new password"


def test_every_change_is_recorded_with_who_made_it_and_without_a_token(app, client, alice, bob, mailbox):
    tokens = []

    def token(address):
        tokens.append(mailbox.token(address))
        return tokens[-1]

    post(alice.client, "/api/invitations", email=DORA, role="admin")
    post(client, "/api/invitations/accept", token=token(DORA), password=NEW)
    dora, bobs, _ = alice.client.get("/api/members").json["items"]
    alice.client.patch(f"/api/members/{dora['id']}", json={"disabled": True})
    alice.client.delete(f"/api/members/{bobs['id']}")
    unwanted = post(alice.client, "/api/invitations", email="x@x.example", role="member")
    alice.client.delete(unwanted.headers["Location"])
    post(alice.client, "/api/me/password", current_password=PASSWORD, password=NEW)
    post(alice.client, "/api/me/email", email="ada@acme.example")
    post(client, "/api/verify-email", token=token("ada@acme.example"))
    post(client, "/api/password-reset", email="ada@acme.example")
    post(client, "/api/password-reset/confirm", token=token("ada@acme.example"), password=NEW)
    post(client, "/api/signup", email=EVE, tenant_name="Eve", subdomain="eve")
    post(client, "/api/signup/confirm", token=token(EVE), password=NEW)
    app.test_cli_runner().invoke(args=["create-user", "ada@acme.example", "--tenant", "eve"])
    with in_database(app):
        events = db.session.scalars(select(AuditEvent).order_by(AuditEvent.occurred_at)).all()
        recorded = [
            (event.action, event.actor_name, event.tenant_id == alice.tenant_id)
            for event in events
            if event.actor_type == "user" and event.action != "session.started"
        ]
        (added,) = [event for event in events if event.action == "member.added"]
        details = {event.action: event.details for event in events}
    assert recorded == [
        ("invitation.created", alice.email, True),
        ("invitation.accepted", DORA, True),
        ("member.updated", alice.email, True),
        ("member.removed", alice.email, True),
        ("invitation.created", alice.email, True),
        ("invitation.revoked", alice.email, True),
        ("password.changed", alice.email, True),
        ("email_change.requested", alice.email, True),
        ("email.changed", alice.email, True),
        ("password.reset", "ada@acme.example", True),
        ("tenant.created", EVE, False),
    ]
    assert (added.actor_type, added.details) == ("operator", {"email": "ada@acme.example", "role": "member"})
    assert details["member.updated"] == {"email": DORA, "role": "admin", "disabled": True}
    assert details["email.changed"] == {"from": alice.email, "to": "ada@acme.example"}
    assert details["tenant.created"] == {"name": "Eve", "subdomain": "eve", "owner": EVE}
    assert details["password.reset"] == {"sessions_ended": 1}
    assert not any(token in str(details) for token in [*tokens, NEW])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_happens_to_an_account_is_told_to_each_of_its_tenants_and_a_refusal_to_the_one_that_was_named(
    app, client, alice, bob, charlie, mailbox
):
    run = app.test_cli_runner().invoke
    run(args=["create-user", bob.email, "--tenant", "others"])
    for body in ({"password": PASSWORD}, {"tenant": "others", "password": "wrong"}, {"password": "wrong"}):
        post(client, "/api/login", email=bob.email, **body)
    secret = post(bob.client, "/api/me/second-factor").json["secret"]
    (code, *_) = post(bob.client, "/api/me/second-factor/confirm", code=pyotp.TOTP(secret).now()).json["recovery_codes"]
    assert post(client, "/api/login", email=bob.email, password=PASSWORD, code=code, tenant="others").status_code == 200
    post(bob.client, "/api/me/recovery-codes")
    run(args=["remove-second-factor", bob.email])
    run(args=["revoke-tokens", "--user", bob.email])
    run(args=["disable-user", bob.email])
    run(args=["disable-user", bob.email, "--undo"])

    def told(person):
        events = reversed(person.client.get("/api/audit-events?limit=100").json["items"])
        return [
            (event["action"], event["details"].get("reason") or event["details"].get("recovery_code"))
            for event in events
            if event["object_id"] == str(bob.user_id) or event["details"].get("recovery_code")
        ]

    both = [
        ("second_factor.added", None),
        ("recovery_codes.renewed", None),
        ("second_factor.removed", None),
        ("user.signed_out", None),
        ("user.disabled", None),
        ("user.signed_out", None),
        ("user.enabled", None),
    ]
    guesses = [("session.refused", "which tenant"), ("session.refused", None)]
    assert told(alice) == [*guesses, *both]
    assert told(charlie) == [*guesses, ("session.refused", None), both[0], ("session.started", True), *both[1:]]
