"""Failures at an account: counted in the database, and no way to lock the owner out."""

import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from app.database import now
from app.errors import TooManyRequests
from app.extensions import db
from app.identity import throttle
from app.identity.models import SignInAllowance, UserSession
from app.identity.throttle import Attempt, forgive
from tests.conftest import PASSWORD, in_database, running
from tests.identity.test_sign_in import sign_in
from tests.one_time import statements

ACCOUNT, HOME, ELSEWHERE = "alice@acme.example", "192.0.2.1", "198.51.100.1"


def fail(app, times, *, account=ACCOUNT, address=ELSEWHERE):
    """How many of so many attempts were let through to be verified."""
    with app.app_context():
        passed = 0
        for _ in range(times):
            with suppress(TooManyRequests):
                Attempt(account, address).count(db.session())
                passed += 1
        return passed


def allowances(app):
    with in_database(app):
        return {(row.account, row.network): row.failures for row in db.session.scalars(select(SignInAllowance))}


def test_the_count_outlives_the_process_and_the_limiters_storage(app, settings, alice):
    assert fail(app, 21) == 20
    app.extensions["rate_limiter"].storage.reset()
    with running(settings) as restarted:
        assert fail(restarted, 5) == 0
        restarted.extensions["encryption"].checked = True
        answer = sign_in(restarted.test_client(), ACCOUNT, address="203.0.113.1")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 3600


def test_of_40_guesses_at_once_exactly_20_are_verified(app, alice, monkeypatch):
    verified, statuses, barrier = [], [], threading.Barrier(40)
    monkeypatch.setattr(
        "app.identity.authentication.verify_password", lambda stored, password: verified.append(password)
    )

    def guess(number):
        client = app.test_client()
        barrier.wait()
        statuses.append(sign_in(client, ACCOUNT, f"guess {number}", f"198.51.100.{number}").status_code)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * 20 + [429] * 20
    assert len(verified) == 20


def test_who_was_there_within_30_days_has_an_allowance_of_their_own(app, alice):
    assert fail(app, 30) == 20
    assert fail(app, 30, address=HOME) == 20
    assert fail(app, 30, address="203.0.113.1") == 0
    assert sorted(allowances(app).values()) == [30, 60]
    with in_database(app):
        db.session.execute(delete(SignInAllowance))
        ended = {"started_at": now() - timedelta(days=29), "ended_at": now()}
        db.session.execute(update(UserSession).values(ended))
        db.session.commit()
    assert [fail(app, 20), fail(app, 1, address=HOME)] == [20, 1]
    with in_database(app):
        db.session.execute(delete(SignInAllowance))
        db.session.execute(update(UserSession).values(started_at=now() - timedelta(days=31)))
        db.session.commit()
    assert [fail(app, 20), fail(app, 1, address=HOME)] == [20, 0]


def test_only_the_accounts_own_sign_ins_make_a_place_known(app, alice, charlie):
    assert fail(app, 20) == 20
    with in_database(app):
        others = select(UserSession.id).where(UserSession.tenant_id == charlie.tenant_id)
        db.session.execute(update(UserSession).where(UserSession.id.in_(others)).values(address="203.0.113.1"))
        db.session.commit()
    assert fail(app, 1, address="203.0.113.1") == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("address", [None, "2001:db8:0:7::1", "unknown"])
def test_a_place_is_an_ipv6_network_and_never_an_unknown_one(app, alice, address):
    with in_database(app):
        db.session.execute(update(UserSession).values(address=address))
        db.session.commit()
    fail(app, 20)
    assert fail(app, 1, address="2001:db8:0:7:ffff::") == (1 if address and ":" in address else 0)
    assert fail(app, 1, address=address) == (1 if address and ":" in address else 0)


def test_a_new_password_set_by_a_mailed_link_is_a_way_out(app, alice):
    new_place = "203.0.113.1"
    assert [fail(app, 20), fail(app, 20, address=HOME), fail(app, 1, address=new_place)] == [20, 20, 0]
    with in_database(app):
        forgive(db.session(), ACCOUNT, new_place)
        db.session.commit()
    assert fail(app, 30) == 20, "the stranger goes on"
    assert sign_in(app.test_client(), ACCOUNT, address=new_place).status_code == 200
    assert sign_in(app.test_client(), ACCOUNT, address=HOME).status_code == 200
    with in_database(app):
        forgive(db.session(), ACCOUNT, new_place)
        forgive(db.session(), ACCOUNT, new_place)
        db.session.commit()
    assert list(allowances(app).values()) == [0]


def test_an_attempt_that_succeeds_leaves_nothing_and_one_at_the_wrong_tenant_is_a_failure(app, alice):
    assert sign_in(app.test_client(), ACCOUNT, tenant="others").status_code == 401
    assert list(allowances(app).values()) == [1]
    assert sign_in(app.test_client(), ACCOUNT).status_code == 200
    assert allowances(app) == {}


def test_what_has_expired_counts_no_more_and_is_removed_in_passing(app, alice, monkeypatch):
    monkeypatch.setattr(throttle, "REMOVED_AT_ONCE", 3)
    for number in range(5):
        fail(app, 1, account=f"{number}@acme.example")
    fail(app, 20)
    with in_database(app):
        db.session.execute(update(SignInAllowance).values(began_at=now() - timedelta(hours=1)))
        db.session.commit()
    assert sign_in(app.test_client(), ACCOUNT, "wrong password", ELSEWHERE).status_code == 401
    assert sorted(allowances(app).values()) == [1, 1, 1]
    assert sign_in(app.test_client(), ACCOUNT, "wrong password", ELSEWHERE).status_code == 401
    assert list(allowances(app).values()) == [2]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_address_of_anybody_is_stored(app, alice):
    fail(app, 1)
    ((account, network),) = allowances(app)
    assert (len(account), network) == (64, "anywhere")
    with in_database(app):
        app.config["SECRET_KEY"] = b"other"
    fail(app, 1)
    assert len(allowances(app)) == 2, "the hash is keyed"


def test_known_and_unknown_accounts_cost_the_same_statements(app, alice):
    executed = []
    for email in (ACCOUNT, "unknown@acme.example", "no address"):
        for address in (ELSEWHERE, "203.0.113.1"):
            with statements(app) as seen:
                assert sign_in(app.test_client(), email, "wrong password", address).status_code == 401
            executed.append(seen)
    assert all(one == executed[0] for one in executed)
    assert len(executed[0]) >= 4


def test_the_same_password_signs_in_after_others_have_failed(app, alice):
    assert fail(app, 25) == 20
    assert sign_in(app.test_client(), ACCOUNT, PASSWORD).status_code == 200
