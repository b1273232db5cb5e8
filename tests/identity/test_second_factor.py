import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from urllib.parse import unquote

import pyotp
import pytest
from sqlalchemy import event, select, update

from app.database import now
from app.encryption.keyring import Keyring, MasterKey
from app.extensions import db
from app.identity import second_factor, sessions, throttle
from app.identity.models import Membership, User, UserSession
from app.mail.models import Mail
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database, running, wait_for_senders

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FACTOR = "/api/me/second-factor"


@pytest.fixture(autouse=True)
def quick_verification(monkeypatch):
    """Passwords are tested elsewhere, and slow."""
    monkeypatch.setattr("app.identity.authentication.verify_password", lambda stored, password: password == PASSWORD)


@pytest.fixture
def at(monkeypatch):
    """Move the clock of the second factor."""

    def at(seconds):
        moment = now() + timedelta(seconds=seconds)
        monkeypatch.setattr(second_factor, "now", lambda: moment)
        return moment

    at(0)  # it stands still, so that no test is cut in two by the end of a step
    return at


def code_at(secret, moment):
    return pyotp.TOTP(secret).at(moment)


@pytest.fixture
def enrolled(at, alice):
    """Alice's secret and recovery codes; the code of this moment is used up."""
    moment = at(0)
    secret = alice.client.post(FACTOR).json["secret"]
    confirmed = alice.client.post(f"{FACTOR}/confirm", json={"code": code_at(secret, moment)})
    assert confirmed.status_code == 200, confirmed.json
    return secret, confirmed.json["recovery_codes"]


def sign_in(client, person, code=None, address="192.0.2.1", **more):
    body = {"email": person.email, "password": PASSWORD, **({"code": code} if code is not None else {}), **more}
    return client.post("/api/login", json=body, environ_overrides={"REMOTE_ADDR": address})


def stored(app, person):
    with in_database(app):
        user = db.session.get_one(User, person.user_id)
        return user.has_second_factor, user.totp_secret, user.recovery_code_hashes


def mails(app):
    wait_for_senders()
    with in_database(app):
        return list(db.session.scalars(select(Mail.kind)))


class TestEnrolment:
    def test_the_secret_is_shown_once_in_three_forms_and_counts_from_its_confirmation_on(self, app, at, alice, client):
        begun = alice.client.post(FACTOR)
        assert begun.status_code == 200
        secret = begun.json["secret"]
        assert re.fullmatch("[A-Z2-7]{32}", secret)
        assert begun.json["uri"] == f"otpauth://totp/AudiaPro:alice%40acme.example?secret={secret}&issuer=AudiaPro"
        assert begun.json["qr_code"].startswith("data:image/svg+xml")
        assert "<path" in unquote(begun.json["qr_code"])
        assert sign_in(client, alice).status_code == 200
        assert alice.client.get(FACTOR).json == {"on": False, "since": None, "recovery_codes_left": 0}

        moment = at(0)
        confirmed = alice.client.post(f"{FACTOR}/confirm", json={"code": code_at(secret, moment)})
        codes = confirmed.json["recovery_codes"]
        assert len(set(codes)) == 10
        assert all(re.fullmatch("([a-z2-7]{4}-){3}[a-z2-7]{4}", code) for code in codes)
        shown = alice.client.get(FACTOR)
        assert (shown.json["on"], shown.json["recovery_codes_left"]) == (True, 10)
        assert alice.client.get("/api/me").json["second_factor"] is True
        assert sign_in(client, alice).status_code == 401
        for answer in (shown, alice.client.get("/api/me")):
            assert not any(text in answer.text for text in (secret, *codes))
        assert alice.client.post(FACTOR).status_code == 409
        assert stored(app, alice)[1] == secret

    def test_a_wrong_or_missing_code_confirms_nothing_and_counts_as_a_failure(self, at, alice, client):
        assert alice.client.post(f"{FACTOR}/confirm", json={"code": "123456"}).status_code == 409
        moment = at(0)
        first = alice.client.post(FACTOR).json["secret"]
        secret = alice.client.post(FACTOR).json["secret"]  # the one before is forgotten
        wrong = [code_at(first, moment), code_at(secret, moment + timedelta(seconds=60)), "x", "٣٣٣٣٣٣", "1" * 64]
        for code in wrong:
            refused = alice.client.post(f"{FACTOR}/confirm", json={"code": code})
            assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "code")
        for _ in range(20 - len(wrong) - 1):
            alice.client.post(f"{FACTOR}/confirm", json={"code": "x"})
        assert alice.client.post(f"{FACTOR}/confirm", json={"code": "x"}).status_code == 429
        assert sign_in(client, alice, address="127.0.0.1").status_code == 200, "codes are counted apart"
        assert alice.client.get("/api/me").json["second_factor"] is False

    def test_it_ends_the_users_other_sessions(self, app, at, alice, bob):
        with in_database(app):
            membership = db.session.scalars(select(Membership).where(Membership.user_id == alice.user_id)).one()
            other = sessions.start(db.session(), membership, None, "").id
        secret = alice.client.post(FACTOR).json["secret"]
        alice.client.post(f"{FACTOR}/confirm", json={"code": code_at(secret, at(0))})
        with in_database(app):
            assert db.session.get_one(UserSession, other).ended_at is not None
        assert alice.client.get("/api/me").status_code == bob.client.get("/api/me").status_code == 200


class TestSigningIn:
    def test_it_takes_a_code_and_says_so_once_the_password_was_right(self, at, alice, client, enrolled):
        secret, _ = enrolled
        needed = sign_in(client, alice)
        assert (needed.status_code, [error["field"] for error in needed.json["errors"]]) == (401, ["code"])
        wrong = sign_in(client, alice, "000000" if code_at(secret, at(30)) != "000000" else "000001")
        assert (wrong.status_code, [error["field"] for error in wrong.json["errors"]]) == (401, ["code"])
        moment = at(60)
        for code in (None, code_at(secret, moment)):
            refused = sign_in(client, alice, code, password="wrong password")
            assert (refused.status_code, refused.json.get("errors")) == (401, None)
        assert sign_in(client, alice, code_at(secret, moment)).status_code == 200

    def test_a_code_is_good_once_and_so_are_those_before_it(self, at, alice, client, enrolled):
        secret, _ = enrolled
        moment = at(60)
        code = code_at(secret, moment)
        assert sign_in(client, alice, f" {code[:3]} {code[3:]}").status_code == 200
        for seconds in (0, -30):
            assert sign_in(client, alice, code_at(secret, moment + timedelta(seconds=seconds))).status_code == 401
        assert sign_in(client, alice, code_at(secret, moment + timedelta(seconds=30))).status_code == 200

    def test_a_clock_may_be_one_step_off_and_no_more(self, at, alice, client, enrolled):
        secret, _ = enrolled
        moment = at(600)
        for seconds, status in ((-60, 401), (60, 401), (-30, 200), (30, 200)):
            assert sign_in(client, alice, code_at(secret, moment + timedelta(seconds=seconds))).status_code == status

    def test_somebody_elses_code_does_not_do(self, at, app, alice, bob, client, enrolled):
        moment = at(60)
        secret = bob.client.post(FACTOR).json["secret"]
        bob.client.post(f"{FACTOR}/confirm", json={"code": code_at(secret, moment)})
        assert sign_in(client, alice, code_at(secret, moment + timedelta(seconds=30))).status_code == 401
        assert sign_in(client, bob, code_at(secret, moment + timedelta(seconds=30))).status_code == 200
        assert sign_in(client, bob, enrolled[1][0]).status_code == 401

    def test_a_code_is_not_used_up_where_the_tenant_has_yet_to_be_said(self, at, app, alice, client, enrolled):
        with in_database(app):
            others = db.session.scalars(select(Tenant).where(Tenant.subdomain == "others")).one()
            db.session.add(Membership(user_id=alice.user_id, tenant=others, role="member"))
            db.session.commit()
        code = code_at(enrolled[0], at(60))
        unsure = [sign_in(client, alice, code), sign_in(client, alice, enrolled[1][0])]
        assert [(answer.status_code, answer.json["errors"][0]["field"]) for answer in unsure] == [(422, "tenant")] * 2
        for one in (code, enrolled[1][0]):
            assert sign_in(client, alice, one, tenant="others").status_code == 200

    def test_wrong_codes_are_counted_like_wrong_passwords_and_no_lone_password_makes_them_forgotten(
        self, at, alice, client, enrolled
    ):
        answers = [sign_in(client, alice, "x", f"198.51.100.{number}").status_code for number in range(18)]
        answers += [sign_in(client, alice, None, f"198.51.100.{number}").status_code for number in range(18, 20)]
        answers.append(sign_in(client, alice, code_at(enrolled[0], at(60)), "203.0.113.9").status_code)
        assert answers == [401] * 20 + [429]

    @only_sqlite
    def test_a_new_password_by_mail_forgives_wrong_passwords_but_no_wrong_codes(self, at, app, alice, client, enrolled):
        answers = []
        for number in range(21):
            answers.append(sign_in(client, alice, "x", f"198.51.100.{number}").status_code)
            with in_database(app):  # as whoever reads the account's mail can have it done
                throttle.forgive(db.session(), alice.email, f"198.51.100.{number + 1}")
                db.session.commit()
        answers.append(sign_in(client, alice, code_at(enrolled[0], at(60)), "203.0.113.9").status_code)
        assert answers == [401] * 20 + [429] * 2
        assert sign_in(client, alice, code_at(enrolled[0], at(60)), "192.0.2.1").status_code == 200

    def test_a_fresh_sign_in_takes_a_code_too(self, at, app, alice, enrolled):
        secret, _ = enrolled
        with in_database(app):
            db.session.execute(update(UserSession).values(authenticated_at=now() - timedelta(minutes=6)))
            db.session.commit()
        for code in ({}, {"code": "x"}):
            refused = alice.client.post("/api/reauthenticate", json={"password": PASSWORD, **code})
            assert (refused.status_code, refused.json["errors"][0]["field"]) == (401, "code")
            assert alice.client.delete(FACTOR).status_code == 401
        body = {"password": PASSWORD, "code": code_at(secret, at(60))}
        assert [alice.client.post("/api/reauthenticate", json=body).status_code for _ in range(2)] == [204, 401]
        assert alice.client.delete(FACTOR).status_code == 204


class TestRecoveryCodes:
    def test_each_is_good_once_however_it_is_typed(self, at, alice, client, enrolled):
        codes = enrolled[1]
        typed = [codes[0], codes[1].upper(), codes[2].replace("-", ""), f" {codes[3].replace('-', ' ')} "]
        for left, code in enumerate(typed, start=1):
            assert [sign_in(client, alice, code).status_code for _ in range(2)] == [200, 401]
            assert alice.client.get(FACTOR).json["recovery_codes_left"] == 10 - left

    def test_new_ones_replace_those_that_there_are(self, at, alice, bob, client, enrolled):
        renewed = alice.client.post("/api/me/recovery-codes").json["recovery_codes"]
        assert len(renewed) == 10
        assert not set(renewed) & set(enrolled[1])
        assert sign_in(client, alice, enrolled[1][0]).status_code == 401
        assert sign_in(client, alice, renewed[9]).status_code == 200
        assert bob.client.post("/api/me/recovery-codes").status_code == 409


def at_once(app, use):
    """What 20 threads, each with a client of its own, get from ``use`` in the same moment."""
    together = Barrier(20)

    def one(number):
        client = app.test_client()
        together.wait()
        return use(client, f"198.51.100.{number}").status_code

    with ThreadPoolExecutor(20) as threads:
        return sorted(threads.map(one, range(20)))


class TestAtOnce:
    def test_of_twenty_uses_of_one_code_one_wins(self, at, app, alice, enrolled):
        code = code_at(enrolled[0], at(60))
        assert at_once(app, lambda client, it: sign_in(client, alice, code, it)) == [200] + [401] * 19

    def test_of_twenty_uses_of_one_recovery_code_one_wins(self, at, app, alice, enrolled):
        code = enrolled[1][4]
        assert at_once(app, lambda client, it: sign_in(client, alice, code, it)) == [200] + [401] * 19
        assert len(stored(app, alice)[2]) == 9

    def test_of_twenty_confirmations_one_wins_and_its_recovery_codes_are_the_ones(self, at, app, alice, client):
        moment = at(0)
        secret = alice.client.post(FACTOR).json["secret"]
        token = alice.client.environ_base["HTTP_AUTHORIZATION"]
        given = []

        def confirm(client, address):
            body = {"code": code_at(secret, moment)}
            answer = client.post(f"{FACTOR}/confirm", json=body, headers={"Authorization": token})
            given.extend(answer.json.get("recovery_codes", []))
            return answer

        assert at_once(app, confirm) == [200] + [409] * 19
        assert len(given) == 10
        assert sign_in(client, alice, given[0]).status_code == 200


@only_sqlite
def test_the_audit_trail_tells_of_it_and_which_refusals_had_the_right_password(alice, client, enrolled):
    for code in (None, "000000x"):
        sign_in(client, alice, code)
    alice.client.post("/api/me/recovery-codes")
    alice.client.delete(FACTOR)
    events = [
        event for event in alice.client.get("/api/audit-events").json["items"] if event["action"] != "session.started"
    ]
    assert [(event["action"], event["details"].get("reason")) for event in reversed(events)] == [
        ("second_factor.added", None),
        ("session.refused", "no code"),
        ("session.refused", "wrong code"),
        ("recovery_codes.renewed", None),
        ("second_factor.removed", None),
    ]
    assert {event["object_id"] for event in events} == {str(alice.user_id)}


class TestRemoval:
    def test_the_password_alone_is_enough_again_and_the_user_is_told(self, app, alice, client, enrolled):
        assert alice.client.delete(FACTOR).status_code == 204
        assert sign_in(client, alice).status_code == 200
        assert stored(app, alice) == (False, None, None)
        assert mails(app) == ["second_factor_removed"]
        assert alice.client.delete(FACTOR).status_code == 204
        assert mails(app) == ["second_factor_removed"]

    @only_sqlite
    def test_the_operator_can_do_it_also_where_the_secret_cannot_be_read(self, app, alice, client, enrolled):
        run = app.test_cli_runner().invoke
        with in_database(app):
            broken = "UPDATE users SET totp_secret_encrypted = replace(totp_secret_encrypted, 'gAAAA', 'gAAAAx')"
            db.session.connection().exec_driver_sql(broken)
            db.session.commit()
        assert sign_in(client, alice, "123456").status_code == 503
        result = run(args=["remove-second-factor", alice.email])
        assert (result.exit_code, "password alone" in result.output) == (0, True)
        assert sign_in(client, alice).status_code == 200
        assert mails(app) == ["second_factor_removed"]
        assert "has no second factor" in run(args=["remove-second-factor", alice.email]).output
        assert run(args=["remove-second-factor", "x@y.example"]).exit_code == 1

    @only_sqlite
    def test_it_goes_on_where_no_mail_can_be_sent(self, settings, alice, enrolled, caplog):
        with running(replace(settings, environment="production")) as app:
            result = app.test_cli_runner().invoke(args=["remove-second-factor", alice.email])
            assert result.exit_code == 0, result.output
            assert mails(app) == []
        assert "a notice is not sent: second_factor_removed" in caplog.text


def test_codes_and_api_keys_work_after_a_rotation_of_the_encryption_key(settings, at, alice, enrolled):
    key = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "member"}).json["key"]
    wait_for_senders()
    old, new = settings.keyring.primary, MasterKey.parse("pT4vKx8mQz2nRw6yLb0cHd3fJg7sUa1eViOoNtXhB5M=")
    both = replace(settings, keyring=Keyring(new, [old]))
    with running(both) as app:
        rotated = app.test_cli_runner().invoke(args=["rotate-encryption-key"])
        assert rotated.exit_code == 0, rotated.output
    with running(replace(settings, keyring=Keyring(new))) as app:
        app.extensions["encryption"].checked = True
        client = app.test_client()
        assert sign_in(client, alice, code_at(enrolled[0], at(60))).status_code == 200
        assert sign_in(client, alice, enrolled[1][0]).status_code == 200
        assert client.get("/api/calls", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@only_sqlite
def test_no_request_but_those_about_it_loads_what_is_sealed(app, alice, enrolled):
    with app.app_context():
        statements = []
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        alice.client.get("/api/me")
    assert statements
    assert not any("totp_secret" in statement or "password_hash" in statement for statement in statements)
