"""From an e-mail address to a tenant."""

import pytest
from sqlalchemy import select

from app.extensions import db
from app.identity.models import Membership, User
from app.identity.one_time import fingerprint
from app.tenants.models import SignUp, Tenant
from tests.conftest import PASSWORD, in_database, make_settings, running
from tests.mail.conftest import later
from tests.one_time import contents, expire, is_refused_link, post, statements, twenty_at_once

__all__ = ["later"]

DORA = "dora@initech.example"
NEW = "a new password"
INITECH = {"email": DORA, "tenant_name": "Initech", "subdomain": "initech", "time_zone": "Europe/Zurich"}
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def sign_up(client, **changes):
    return post(client, "/api/signup", **INITECH | changes)


def confirm(client, token, **more):
    return post(client, "/api/signup/confirm", token=token, **more)


def sign_in(client, email, password, **more):
    return post(client, "/api/login", email=email, password=password, **more)


def counts(app):
    with in_database(app):
        return [db.session.query(model).count() for model in (User, Tenant, Membership, SignUp)]


def test_whoever_confirms_the_address_owns_the_tenant(app, client, alice, mailbox, caplog):
    before = counts(app)
    assert sign_up(client).status_code == 202
    assert counts(app)[:3] == before[:3]  # nothing is taken before
    token = mailbox.token(DORA)
    answer = confirm(client, token, password=NEW)
    assert (answer.status_code, answer.json["role"]) == (201, "owner")
    assert answer.json["tenant"].items() >= {
        "name": "Initech", "subdomain": "initech", "time_zone": "Europe/Zurich"
    }.items()  # fmt: skip
    signed = sign_in(client, DORA, NEW)
    headers = {"Authorization": f"Bearer {signed.json['access_token']}"}
    me = client.get("/api/me", headers=headers).json
    assert me.items() >= (answer.json | {"second_factor": False}).items()
    assert [it["email"] for it in client.get("/api/members", headers=headers).json["items"]] == [DORA]
    assert counts(app) == [count + 1 for count in before[:3]] + [0]
    assert is_refused_link(confirm(client, token, password=NEW, subdomain="other"))
    assert token not in caplog.text


def test_who_has_an_account_keeps_its_password_and_owns_one_more_tenant(client, alice, mailbox):
    sign_up(client, email=alice.email.upper())
    token = mailbox.token(alice.email)
    refused = confirm(client, token, password=NEW)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "password")
    assert "must be left out" in refused.json["errors"][0]["message"]
    assert confirm(client, token).json["user"]["id"] == str(alice.user_id)
    assert sign_in(client, alice.email, PASSWORD, tenant="initech").status_code == 200
    assert alice.client.get("/api/me").json["tenant"]["subdomain"] == "acme"


@on_sqlite
def test_who_has_none_needs_a_password_that_can_be_used(client, mailbox):
    sign_up(client)
    token = mailbox.token(DORA)
    for more in ({}, {"password": "short"}):
        refused = confirm(client, token, **more)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "password")
    assert confirm(client, token, password=NEW).status_code == 201


def test_the_answer_and_the_statements_do_not_tell_who_has_an_account(app, client, alice, mailbox, later):
    answers, executed = [], []
    for email in (DORA, alice.email):
        with statements(app) as seen:
            answers.append(sign_up(client, email=email))
        executed.append(seen)
    assert [(answer.status_code, answer.json) for answer in answers] == [(202, answers[0].json)] * 2
    assert executed[0] == executed[1]
    assert not any("users" in statement for statement in executed[0])


@on_sqlite
def test_a_link_is_void_when_it_is_replaced_or_expired_or_its_user_disabled(app, client, bob, mailbox):
    sign_up(client)
    first = mailbox.token(DORA)
    sign_up(client, subdomain="initrode")
    assert is_refused_link(confirm(client, first, password=NEW))
    second = mailbox.token(DORA)
    sign_up(client, email=bob.email)
    app.test_cli_runner().invoke(args=["disable-user", bob.email])
    assert is_refused_link(confirm(client, mailbox.token(bob.email)))
    expire(app, SignUp)
    assert is_refused_link(confirm(client, second, password=NEW))
    sign_up(client)
    with in_database(app):
        assert db.session.scalars(select(SignUp.email)).all() == [DORA]  # expired ones are forgotten


@on_sqlite
def test_a_token_is_in_the_mail_alone(app, client, mailbox):
    sign_up(client)
    token, stored = mailbox.token(DORA), contents(app)
    assert fingerprint(token) in stored
    assert token not in stored


@on_sqlite
def test_a_subdomain_that_was_taken_meanwhile_is_exchanged_for_another(client, mailbox):
    sign_up(client)
    slower = mailbox.token(DORA)
    sign_up(client, email="eve@initech.example")
    assert confirm(client, mailbox.token("eve@initech.example"), password=NEW).status_code == 201
    assert confirm(client, slower, password=NEW).status_code == 409
    assert confirm(client, slower, password=NEW, subdomain="www").status_code == 422
    answer = confirm(client, slower, password=NEW, subdomain="initech2")
    assert (answer.status_code, answer.json["tenant"]["subdomain"]) == (201, "initech2")


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"subdomain": "acme"}, 409, None),
        ({"subdomain": "admin"}, 422, "subdomain"),
        ({"subdomain": "Initech"}, 422, "subdomain"),
        ({"tenant_name": "In\r\nBcc: x"}, 422, "tenant_name"),
        ({"tenant_name": "In\u2028itech"}, 422, "tenant_name"),
        ({"time_zone": "Mars/Olympus"}, 422, "time_zone"),
        ({"email": "dora"}, 422, "email"),
        ({"email": "dora@x.example\nBcc: eve@x.example"}, 422, "email"),
        ({"password": NEW}, 422, "password"),
        ({"role": "owner"}, 422, "role"),
    ],
)
def test_what_cannot_be_signed_up_for_is_refused_and_nothing_stored(app, client, alice, changes, status, field):
    before = counts(app)
    refused = sign_up(client, **changes)
    assert refused.status_code == status
    assert [error["field"] for error in refused.json.get("errors", ())] == ([field] if field else [])
    assert counts(app) == before


@on_sqlite
def test_an_address_gets_three_of_these_mails_an_hour(client, mailbox):
    assert [sign_up(client, subdomain=f"initech{number}").status_code for number in range(4)] == [202] * 3 + [429]


@on_sqlite
def test_where_it_is_closed_both_steps_are(client, mailbox, database_url):
    sign_up(client)
    token = mailbox.token(DORA)
    with running(make_settings(database_url, sign_up_open=False)) as app:
        app.extensions["encryption"].checked = True
        closed = app.test_client()
        answers = [sign_up(closed), confirm(closed, token, password=NEW)]
    assert [answer.status_code for answer in answers] == [403] * 2
    assert "ask a team for an invitation" in answers[0].json["detail"]


def test_of_twenty_confirmations_at_once_one_wins(app, client, mailbox):
    sign_up(client)
    body = {"token": mailbox.token(DORA), "password": NEW}
    statuses = twenty_at_once(app, "/api/signup/confirm", **body)
    assert statuses[0] == 201
    assert set(statuses[1:]) <= {409, 422}  # the subdomain is taken, or the link used
    assert counts(app) == [1, 1, 1, 0]
