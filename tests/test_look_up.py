"""What is behind a link in a mail, told before it is used."""

import pytest
from sqlalchemy import update

from app.database import now
from app.extensions import db
from app.identity import accounts
from app.identity.models import OneTimeToken, User
from app.identity.one_time import LinkNotValid
from app.tenants import invitations, sign_up
from app.tenants.models import SignUp
from tests.conftest import in_database, wait_for_senders
from tests.mail.mailbox import mailbox, settings
from tests.one_time import contents, expire, is_refused_link, post
from tests.tenants.test_invitations import BECOMES_VOID, set_membership

__all__ = ["mailbox", "settings"]

DORA = "dora@initech.example"
INITECH = {"tenant_name": "Initech", "subdomain": "initech", "time_zone": "Europe/Zurich"}
NEW = "a new password"


def looked_up(app, look_up, token):
    """What ``look_up`` tells, in no tenant's scope, or None where the link is refused. Changes nothing either way."""
    wait_for_senders()
    before = contents(app)
    with app.app_context():
        try:
            found = look_up(db.session(), token)
        except LinkNotValid:
            found = None
        assert not db.session().in_transaction()
    assert contents(app) == before
    return found


def disable(app, person):
    with in_database(app):
        db.session.execute(update(User).where(User.id == person.user_id).values(disabled_at=now()))
        db.session.commit()


@pytest.fixture
def token(client, alice, mailbox):
    """Of a link by which Alice may set a new password."""
    post(client, "/api/password-reset", email=alice.email)
    return mailbox.token(alice.email)


@pytest.fixture
def new_email_token(alice, mailbox):
    """Of a link by which Alice's address becomes another."""
    post(alice.client, "/api/me/email", email="ada@acme.example")
    return mailbox.token("ada@acme.example")


class TestSignUp:
    def test_it_tells_which_tenant_would_be_made_for_whom(self, app, client, alice, mailbox):
        for email, has_account in ((DORA, False), (alice.email, True)):
            post(client, "/api/signup", email=email, **INITECH)
            found = looked_up(app, sign_up.look_up, mailbox.token(email))
            assert found._asdict() == {"email": email, **INITECH, "has_account": has_account}
        assert post(client, "/api/signup/confirm", token=mailbox.token(DORA), password=NEW).status_code == 201

    def test_it_refuses_what_is_refused_when_it_is_used(self, app, client, bob, mailbox):
        tokens = ["", "x" * 43]
        for email in (DORA, DORA, bob.email):
            post(client, "/api/signup", email=email, **INITECH)
            tokens.append(mailbox.token(email))
        *void, newest, of_bob = tokens
        assert looked_up(app, sign_up.look_up, newest).email == DORA
        disable(app, bob)
        for unfit in (*void, of_bob):
            assert looked_up(app, sign_up.look_up, unfit) is None
            assert is_refused_link(post(client, "/api/signup/confirm", token=unfit, password=NEW))
        expire(app, SignUp)
        assert looked_up(app, sign_up.look_up, newest) is None

    def test_a_disabled_user_is_refused_the_link_whoever_has_the_subdomain(self, app, client, bob, mailbox):
        post(client, "/api/signup", email=bob.email, **INITECH)
        of_bob = mailbox.token(bob.email)
        post(client, "/api/signup", email=DORA, **INITECH)
        post(client, "/api/signup/confirm", token=mailbox.token(DORA), password=NEW)
        disable(app, bob)
        assert looked_up(app, sign_up.look_up, of_bob) is None
        assert is_refused_link(post(client, "/api/signup/confirm", token=of_bob))


class TestInvitation:
    def test_it_tells_who_invites_whom_as_what(self, app, alice, charlie, mailbox):
        for email, has_account in ((DORA, False), (charlie.email, True)):
            post(alice.client, "/api/invitations", email=email, role="admin")
            found = looked_up(app, invitations.look_up, mailbox.token(email))
            assert found._asdict() == {
                "tenant_id": alice.tenant_id,
                "tenant_name": "Acme",
                "subdomain": "acme",
                "email": email,
                "role": "admin",
                "invited_by": alice.email,
                "has_account": has_account,
            }

    @pytest.mark.parametrize("change", BECOMES_VOID.values(), ids=BECOMES_VOID.keys())
    def test_it_refuses_whatever_became_void(self, app, alice, bob, mailbox, change):
        set_membership(app, bob, role="admin")
        post(bob.client, "/api/invitations", email=DORA, role="member")
        link = mailbox.token(DORA)
        assert looked_up(app, invitations.look_up, link).invited_by == bob.email
        change(app, alice, bob)
        assert looked_up(app, invitations.look_up, link) is None

    def test_it_refuses_a_disabled_user_and_a_link_that_was_used(self, app, client, alice, bob, charlie, mailbox):
        for email in (charlie.email, DORA):
            post(alice.client, "/api/invitations", email=email, role="member")
        disable(app, charlie)
        post(client, "/api/invitations/accept", token=mailbox.token(DORA), password=NEW)
        for email in (charlie.email, DORA):
            assert looked_up(app, invitations.look_up, mailbox.token(email)) is None
            assert is_refused_link(post(client, "/api/invitations/accept", token=mailbox.token(email)))


class TestReset:
    def test_it_tells_whose_password_would_be_set(self, app, client, alice, token):
        assert looked_up(app, accounts.look_up_reset, token) == alice.email
        assert post(client, "/api/password-reset/confirm", token=token, password=NEW).status_code == 204
        assert looked_up(app, accounts.look_up_reset, token) is None

    def test_it_refuses_what_is_refused_when_it_is_used(self, app, client, alice, token, new_email_token):
        void = ["", "x" * 43, new_email_token]
        assert [looked_up(app, accounts.look_up_reset, link) for link in void] == [None] * 3
        disable(app, alice)
        assert looked_up(app, accounts.look_up_reset, token) is None
        assert is_refused_link(post(client, "/api/password-reset/confirm", token=token, password=NEW))

    def test_it_refuses_an_expired_link(self, app, token):
        expire(app, OneTimeToken)
        assert looked_up(app, accounts.look_up_reset, token) is None


class TestEmailChange:
    def test_it_tells_from_which_address_to_which(self, app, client, alice, new_email_token):
        found = looked_up(app, accounts.look_up_email_change, new_email_token)
        assert found == accounts.EmailChange(alice.email, "ada@acme.example")
        assert post(client, "/api/verify-email", token=new_email_token).status_code == 204
        assert looked_up(app, accounts.look_up_email_change, new_email_token) is None

    def test_it_refuses_what_is_refused_when_it_is_used(self, app, client, alice, token, new_email_token):
        void = ["", "x" * 43, token]
        assert [looked_up(app, accounts.look_up_email_change, link) for link in void] == [None] * 3
        disable(app, alice)
        assert looked_up(app, accounts.look_up_email_change, new_email_token) is None
        assert is_refused_link(post(client, "/api/verify-email", token=new_email_token))

    def test_it_refuses_an_expired_link(self, app, new_email_token):
        expire(app, OneTimeToken)
        assert looked_up(app, accounts.look_up_email_change, new_email_token) is None
