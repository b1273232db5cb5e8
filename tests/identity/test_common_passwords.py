"""Passwords that are among the first to be tried."""

import subprocess
import sys

import pytest

from app.config import PROJECT
from app.errors import Invalid
from app.extensions import db
from app.identity import accounts, passwords, users
from app.identity.models import User
from tests.conftest import in_database
from tests.identity.test_sign_in import sign_in


@pytest.fixture
def quick(monkeypatch):
    """Only the judgement is looked at: hashing takes long."""
    monkeypatch.setattr(passwords, "renew_hash", lambda password: "hashed")


def judgement(password):
    try:
        passwords.hash_password(password, email="bob.smith@acme.example", subdomains=["acme-ltd"])
    except Invalid as refused:
        return refused.errors[0]["message"]
    return None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("password", ["password", "PassWord1", "12345678", "qwertyuiop", "!qaz2wsx", "iloveyou"])
def test_common_passwords_are_refused_in_capitals_too(password):
    assert judgement(password) == "is one of the most common passwords, which are tried first: choose another one"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "password",
    ["AudiaPro", "audiapro2026!", "bob.smith@acme.example", "Bob.Smith", "1bob.smith1", "acme-ltd", "ACME-LTD!!!!"],
)
def test_what_everybody_knows_of_the_account_is_refused(password):
    assert judgement(password) == (
        "is the name of the service, the organisation or the account: choose something that is not known"
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "bob smith and the password", "my audiapro", "a" * 64, "пароль 🔑", "8 chars."],
)
def test_others_are_not(password):
    assert judgement(password) is None


def test_as_many_are_known_as_the_library_brings_with_it():
    assert len(passwords._common_passwords()) > 10_000
    assert all(len(password) >= 8 and password == password.lower() for password in passwords._common_passwords())


def test_the_list_is_read_when_it_is_first_needed_and_no_other_one_is_kept():
    program = (
        "import sys; from app.identity import passwords; "
        "assert passwords._common_passwords.cache_info().currsize == 0; passwords._common_passwords(); "
        "assert not [name for name in sys.modules if name.startswith('zxcvbn')]"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, timeout=60)


@pytest.mark.usefixtures("recommended_cost")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_they_are_refused_where_a_password_is_chosen_and_not_where_it_is_used(app, client, alice):
    with in_database(app):
        with pytest.raises(Invalid):
            accounts.set_password(db.session(), alice.email, lambda: "password1")
        with pytest.raises(Invalid):
            users.add_user(db.session(), "dora@acme.example", "password1")
        with pytest.raises(Invalid):
            users.add_user(db.session(), "dorathea@acme.example", "Dorathea1")
        db.session.rollback()
        cheap = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("password1")
        db.session.execute(User.__table__.update().where(User.id == alice.user_id).values(password_hash=cheap))
        db.session.commit()
    assert sign_in(client, alice.email, "password1").status_code == 200
    with in_database(app):
        assert not passwords.is_outdated(db.session.get(User, alice.user_id).password_hash)
