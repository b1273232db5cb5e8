"""Password and e-mail address: set anew by a link in a mail, and changed by whoever is signed in."""

import pyotp
import pytest
from sqlalchemy import update

from app.extensions import db
from app.identity.models import OneTimeToken, User, UserSession
from app.identity.one_time import fingerprint
from app.mail.models import Mail
from tests.conftest import PASSWORD, in_database, make_settings, running, wait_for_senders
from tests.mail.conftest import later, make_due
from tests.mail.mailbox import mailbox, settings
from tests.mail.provider import error
from tests.one_time import contents, expire, grow_stale, is_refused_link, is_stale, post, statements, twenty_at_once

__all__ = ["later", "mailbox", "settings"]

NEW = "a new password"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ask(client, email, **more):
    return post(client, "/api/password-reset", email=email, **more)


def reset(client, token, password=NEW):
    return post(client, "/api/password-reset/confirm", token=token, password=password)


def sign_in(client, email, password, **more):
    return post(client, "/api/login", email=email, password=password, **more)


class TestReset:
    def test_a_link_sets_a_new_password_once_and_ends_every_session(self, client, alice, bob, mailbox, caplog):
        assert ask(client, "ALICE@Acme.example").status_code == 202
        token = mailbox.token(alice.email)
        assert reset(client, token).status_code == 204
        assert alice.client.get("/api/me").status_code == 401
        assert bob.client.get("/api/me").status_code == 200
        assert sign_in(client, alice.email, PASSWORD).status_code == 401
        assert sign_in(client, alice.email, NEW).status_code == 200
        assert mailbox.subjects(alice.email) == ["Set a new password", "Your password was changed"]
        assert is_refused_link(reset(client, token, "another password"))
        assert sign_in(client, alice.email, NEW).status_code == 200
        assert token not in caplog.text

    def test_an_address_without_an_account_gets_the_same_answer_by_the_same_statements(
        self, app, client, alice, mailbox, later
    ):
        answers, executed = [], []
        for email in (alice.email, "unknown@acme.example", alice.email):  # the last in place of the first
            with statements(app) as seen:
                answers.append(ask(client, email))
            executed.append(seen)
        assert [(answer.status_code, answer.json) for answer in answers] == [(202, answers[0].json)] * 3
        assert executed[0] == executed[1] == executed[2]
        assert any("INTO one_time_tokens" in statement for statement in executed[1])

    @on_sqlite
    def test_who_has_no_account_that_could_sign_in_is_told_by_mail(self, app, client, alice, mailbox):
        with in_database(app):
            db.session.execute(update(User).where(User.id == alice.user_id).values(disabled_at=User.created_at))
            db.session.commit()
        for email in (alice.email, "unknown@acme.example"):
            assert ask(client, email).status_code == 202
            assert mailbox.subjects(email) == ["There is no account for your address"]
        with in_database(app):
            assert db.session.query(OneTimeToken).count() == 0

    @on_sqlite
    def test_a_link_is_void_when_it_is_replaced_expired_or_of_another_kind(self, app, client, alice, mailbox):
        ask(client, alice.email)
        first = mailbox.token(alice.email)
        ask(client, alice.email)
        second = mailbox.token(alice.email)
        post(alice.client, "/api/me/email", email="ada@acme.example")
        of_another_kind = mailbox.token("ada@acme.example")
        refused = [reset(client, token) for token in (first, of_another_kind, "", "x" * 43)]
        refused.append(post(client, "/api/verify-email", token=second))
        expire(app, OneTimeToken)
        refused.append(reset(client, second))
        assert [is_refused_link(answer) for answer in refused] == [True] * 6
        assert sign_in(client, alice.email, PASSWORD).status_code == 200

    @on_sqlite
    def test_a_link_is_void_while_its_user_is_disabled(self, app, client, alice, mailbox):
        ask(client, alice.email)
        with in_database(app):
            db.session.execute(update(User).where(User.id == alice.user_id).values(disabled_at=User.created_at))
            db.session.commit()
        assert is_refused_link(reset(client, mailbox.token(alice.email)))

    @on_sqlite
    def test_a_password_that_cannot_be_used_does_not_use_up_the_link(self, client, alice, mailbox):
        ask(client, alice.email)
        token = mailbox.token(alice.email)
        for unfit in ("short", "acme2026!"):  # her tenant is called acme
            refused = reset(client, token, unfit)
            assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "password")
        assert reset(client, token).status_code == 204

    def test_of_twenty_uses_at_once_one_wins(self, app, client, alice, mailbox):
        ask(client, alice.email)
        body = {"token": mailbox.token(alice.email), "password": NEW}
        assert twenty_at_once(app, "/api/password-reset/confirm", **body) == [204] + [422] * 19
        assert mailbox.subjects(alice.email)[1:] == ["Your password was changed"]

    @on_sqlite
    def test_it_lets_somebody_in_who_was_locked_out(self, client, alice, mailbox):
        for number in range(21):
            sign_in(client, alice.email, "wrong", address=f"198.51.100.{number}")
        assert sign_in(client, alice.email, PASSWORD, address="203.0.113.1").status_code == 429
        ask(client, alice.email)
        assert reset(client, mailbox.token(alice.email)).status_code == 204
        assert sign_in(client, alice.email, NEW, address="203.0.113.1").status_code == 200

    @on_sqlite
    def test_a_token_is_in_the_mail_alone(self, app, client, alice, mailbox):
        ask(client, alice.email)
        token = mailbox.token(alice.email)
        assert len(token) >= 43
        stored = contents(app)
        assert fingerprint(token) in stored
        assert token not in stored

    @on_sqlite
    def test_an_address_gets_three_of_these_mails_an_hour_whoever_asks(self, client, alice, bob, mailbox):
        answers = []
        for number in range(4):
            answers.append(ask(client, alice.email, address=f"192.0.2.{number}"))
            wait_for_senders()  # each mail has a thread of its own: the newest link is to come last
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 3600
        assert ask(client, bob.email).status_code == 202
        assert reset(client, mailbox.token(alice.email)).status_code == 204

    @on_sqlite
    @pytest.mark.parametrize("email", ["alice", "alice@acme.example\r\nBcc: eve@x.example", "a@b.example, c@d.example"])
    def test_what_is_not_one_address_is_refused(self, client, alice, mailbox, email):
        refused = ask(client, email)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "email")
        assert mailbox.provider.asked == []

    @on_sqlite
    def test_while_mail_is_down_a_reset_is_answered_as_always_and_the_mail_sent_later(
        self, app, client, alice, mailbox
    ):
        mailbox.provider.planned = [error(500, "application_error", "Down")]
        assert ask(client, alice.email).status_code == 202
        assert mailbox.of(alice.email) == []
        with in_database(app):
            make_due()
        assert app.test_cli_runner().invoke(args=["send-mails"]).exit_code == 0
        assert reset(client, mailbox.token(alice.email)).status_code == 204


class TestOnesOwnPassword:
    def test_changing_it_ends_all_other_sessions_and_voids_links(self, client, alice, mailbox):
        ask(client, alice.email)
        token = mailbox.token(alice.email)
        elsewhere = sign_in(client, alice.email, PASSWORD).json["access_token"]
        assert post(alice.client, "/api/me/password", current_password=PASSWORD, password=NEW).status_code == 204
        assert alice.client.get("/api/me").status_code == 200
        assert client.get("/api/me", headers={"Authorization": f"Bearer {elsewhere}"}).status_code == 401
        assert is_refused_link(reset(client, token))
        assert sign_in(client, alice.email, NEW).status_code == 200
        assert mailbox.subjects(alice.email)[1:] == ["Your password was changed"]

    @on_sqlite
    def test_it_needs_a_fresh_sign_in_and_nothing_but_the_password(self, app, alice, mailbox):
        for unfit in ("short", "password1", alice.email, "acme2026!"):
            assert post(alice.client, "/api/me/password", current_password=PASSWORD, password=unfit).status_code == 422
        assert post(alice.client, "/api/me/password", password=NEW, role="owner").status_code == 422
        grow_stale(app)
        assert is_stale(post(alice.client, "/api/me/password", current_password=PASSWORD, password=NEW))
        assert is_stale(post(alice.client, "/api/me/email", email="ada@acme.example"))
        assert mailbox.provider.asked == []

    @on_sqlite
    def test_it_takes_the_current_one_and_guesses_at_that_are_counted(self, app, alice, mailbox):
        def change(current, number=0):
            body = {"current_password": current, "password": NEW}
            return post(alice.client, "/api/me/password", f"198.51.100.{number}", **body).status_code

        assert post(alice.client, "/api/me/password", password=NEW).status_code == 422
        assert [change("wrong", number) for number in range(20)] == [401] * 20
        assert change(PASSWORD) == 429
        assert change(PASSWORD, 0) == 429
        refused = alice.client.get("/api/audit-events?action=session.refused").json["items"]
        assert [event["object_id"] for event in refused] == [str(alice.user_id)] * 20
        assert alice.client.get("/api/me").status_code == 200
        assert mailbox.provider.asked == []

    @on_sqlite
    def test_the_operators_command_tells_the_user_too(self, app, alice, mailbox):
        run = app.test_cli_runner().invoke
        assert run(args=["set-password", alice.email], input="acme2026!\n").exit_code == 1
        assert run(args=["set-password", alice.email], input=f"{NEW}\n").exit_code == 0
        assert mailbox.subjects(alice.email) == ["Your password was changed"]


class TestEmailAddress:
    def test_it_changes_when_the_link_in_the_mail_to_the_new_one_is_used(self, app, client, alice, mailbox):
        ask(client, alice.email)
        reset_token = mailbox.token(alice.email)
        assert post(alice.client, "/api/me/email", email="Ada@Acme.example").status_code == 202
        assert alice.client.get("/api/me").json["user"]["email"] == alice.email
        token = mailbox.token("ada@acme.example")
        assert post(client, "/api/verify-email", token=token).status_code == 204
        assert alice.client.get("/api/me").json["user"]["email"] == "ada@acme.example"
        told = ["Somebody wants to change your e-mail address", "Your e-mail address was changed"]
        assert mailbox.subjects(alice.email)[1:] == told
        assert sign_in(client, "ada@acme.example", PASSWORD).status_code == 200
        assert sign_in(client, alice.email, PASSWORD).status_code == 401
        assert is_refused_link(reset(client, reset_token))
        assert is_refused_link(post(client, "/api/verify-email", token=token))

    def test_of_twenty_uses_at_once_one_wins(self, app, client, alice, mailbox):
        post(alice.client, "/api/me/email", email="ada@acme.example")
        token = mailbox.token("ada@acme.example")
        assert twenty_at_once(app, "/api/verify-email", token=token) == [204] + [422] * 19
        assert mailbox.subjects(alice.email)[1:] == ["Your e-mail address was changed"]

    @on_sqlite
    def test_a_link_is_in_the_mail_alone_replaces_the_one_before_and_expires(self, app, client, alice, mailbox):
        post(alice.client, "/api/me/email", email="ada@acme.example")
        first = mailbox.token("ada@acme.example")
        post(alice.client, "/api/me/email", email="ada@acme.example")
        second = mailbox.token("ada@acme.example")
        stored = contents(app)
        assert fingerprint(second) in stored
        assert second not in stored
        assert is_refused_link(post(client, "/api/verify-email", token=first))
        expire(app, OneTimeToken)
        assert is_refused_link(post(client, "/api/verify-email", token=second))
        assert alice.client.get("/api/me").json["user"]["email"] == alice.email

    @pytest.mark.parametrize("means", ["everywhere", "--user", "--tenant", "--all", "disable-user", "second factor"])
    @on_sqlite
    def test_no_way_to_be_rid_of_a_thief_leaves_the_link_that_they_asked_for(self, app, client, alice, mailbox, means):
        post(alice.client, "/api/me/email", email="eve@eve.example")
        (told,) = mailbox.of(alice.email)
        assert "eve@eve.example" in told["text"]
        run = app.test_cli_runner().invoke
        if means == "everywhere":
            alice.client.delete("/api/sessions")
        elif means == "disable-user":
            run(args=["create-user", "dora@x.example", "--tenant", "acme", "--role", "owner"], input=f"{NEW}\n")
            run(args=["disable-user", alice.email])
            run(args=["disable-user", alice.email, "--undo"])
        elif means == "second factor":
            code = pyotp.TOTP(alice.client.post("/api/me/second-factor").json["secret"]).now()
            assert post(alice.client, "/api/me/second-factor/confirm", code=code).status_code == 200
        else:
            whose = {"--user": [alice.email], "--tenant": ["acme"], "--all": []}[means]
            assert run(args=["revoke-tokens", means, *whose]).exit_code == 0
        assert is_refused_link(post(client, "/api/verify-email", token=mailbox.token("eve@eve.example")))

    def test_an_address_that_another_account_has_is_told_to_its_owner_alone(self, client, alice, bob, mailbox):
        answers = [post(alice.client, "/api/me/email", email=it) for it in ("free@acme.example", bob.email)]
        assert [(answer.status_code, answer.json) for answer in answers] == [(202, answers[0].json)] * 2
        for _ in range(2):
            assert post(client, "/api/verify-email", token=mailbox.token(bob.email)).status_code == 409
        assert alice.client.get("/api/me").json["user"]["email"] == alice.email

    @on_sqlite
    def test_ones_own_is_no_change(self, alice, mailbox):
        assert post(alice.client, "/api/me/email", email="ALICE@acme.example").status_code == 422


@on_sqlite
def test_what_stands_in_a_link_is_no_token_to_sign_requests_with(client, alice, mailbox):
    post(alice.client, "/api/me/email", email="ada@acme.example")
    assert mailbox.subjects(alice.email) == ["Somebody wants to change your e-mail address"]
    ask(client, alice.email)
    post(alice.client, "/api/invitations", email="dora@acme.example", role="owner")
    post(client, "/api/signup", email="eve@eve.example", tenant_name="Eve", subdomain="eve")
    for address in (alice.email, "ada@acme.example", "dora@acme.example", "eve@eve.example"):
        bearer = {"Authorization": f"Bearer {mailbox.token(address)}"}
        assert client.get("/api/me", headers=bearer).status_code == 401
        assert client.post("/api/refresh", headers=bearer).status_code == 401
        assert client.get("/api/phone-systems", headers=bearer).status_code == 401


@on_sqlite
class TestWithoutMail:
    """In production, where no key of a provider is set."""

    @pytest.fixture
    def settings(self, database_url):
        return make_settings(database_url, environment="production")

    def test_what_needs_a_mail_is_refused_before_anything_is_stored(self, app, client, alice):
        before = contents(app)
        for client_, url, body in (
            (client, "/api/password-reset", {"email": alice.email}),
            (client, "/api/password-reset", {"email": "unknown@acme.example"}),
            (client, "/api/signup", {"email": "d@x.example", "tenant_name": "Initech", "subdomain": "initech"}),
            (alice.client, "/api/invitations", {"email": "d@x.example", "role": "member"}),
            (alice.client, "/api/me/email", {"email": "d@x.example"}),
        ):
            answer = post(client_, url, **body)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), url
            assert answer.json["detail"] == "Mail cannot be sent at the moment."
        assert contents(app) == before

    def test_a_password_is_changed_all_the_same(self, app, client, alice, caplog):
        assert post(alice.client, "/api/me/password", current_password=PASSWORD, password=NEW).status_code == 204
        assert sign_in(client, alice.email, NEW).status_code == 200
        assert "a notice is not sent: password_changed" in caplog.text


@on_sqlite
def test_a_notice_that_cannot_be_sealed_does_not_keep_a_password_from_being_changed(app, settings, alice, caplog):
    """As from a command that runs under a key that the database does not know."""
    with running(make_settings(settings.database_url)) as other:
        result = other.test_cli_runner().invoke(args=["set-password", alice.email], input=f"{NEW}\n")
    assert result.exit_code == 0
    assert "a notice is not sent" in caplog.text
    with in_database(app):
        assert db.session.query(Mail).count() == 0
        assert db.session.get(UserSession, alice.session_id).ended_at is not None
