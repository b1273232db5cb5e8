import os
import pty
import re
import subprocess
import sys

import pytest
from sqlalchemy import select

from app.extensions import db
from app.identity.models import Membership, User
from app.identity.passwords import verify_password
from app.tenants.models import Tenant
from tests.conftest import PASSWORD, in_database, make_settings, running

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NEW = "a new password"
INITECH = ["create-tenant", "--name", "Initech", "--subdomain", "initech"]


@pytest.fixture
def run(app):
    return lambda *args, stdin="": app.test_cli_runner().invoke(args=list(args), input=stdin)


def memberships(app):
    with in_database(app):
        rows = db.session.execute(
            select(User.email, Tenant.subdomain, Tenant.time_zone, Membership.role)
            .join(Membership.user)
            .join(Membership.tenant)
        )
        return sorted(tuple(row) for row in rows)


def test_a_tenant_gets_an_owner_who_can_sign_in(app, client, run):
    result = run(*INITECH, "--admin-email", "Dora@Initech.Example", "--time-zone", "Europe/Zurich", stdin=f"{NEW}\n")
    assert result.exit_code == 0, result.output
    assert NEW not in result.output
    assert "initech" in result.output
    assert memberships(app) == [("dora@initech.example", "initech", "Europe/Zurich", "owner")]
    answer = client.post("/api/login", json={"email": "dora@initech.example", "password": NEW})
    assert answer.status_code == 200


def test_an_owner_who_exists_keeps_the_password_and_is_not_asked_for_one(app, client, alice, run):
    result = run(*INITECH, "--admin-email", alice.email, stdin="")
    assert result.exit_code == 0, result.output
    assert ("alice@acme.example", "initech", "UTC", "owner") in memberships(app)
    login = {"email": alice.email, "password": PASSWORD, "tenant": "initech"}
    assert client.post("/api/login", json=login).status_code == 200


@only_sqlite
@pytest.mark.parametrize(
    "line", [f"{NEW}\n", f"{NEW}\r\n", NEW, f"{NEW}\nanother line\n"], ids=["LF", "CRLF", "no line end", "two lines"]
)
def test_the_password_is_one_line_of_standard_input(app, alice, run, line):
    assert run("set-password", alice.email, stdin=line).exit_code == 0
    with in_database(app):
        assert verify_password(db.session.get(User, alice.user_id).password_hash, NEW)


@pytest.mark.usefixtures("recommended_cost")
@only_sqlite
@pytest.mark.parametrize("line", [f"{NEW}\n", f"{NEW}\r\n", NEW, f"{NEW}\nanother line\n"])
def test_a_password_is_hashed_and_nothing_but_the_hash_is_printed(run, line):
    result = run("hash-password", stdin=line)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+\n", result.stdout)
    assert verify_password(result.stdout.rstrip("\n"), NEW)


def test_hashing_needs_no_database():
    with running(make_settings("postgresql+psycopg://nobody@127.0.0.1:1/none")) as app:
        result = app.test_cli_runner().invoke(args=["hash-password"], input=NEW)
    assert verify_password(result.stdout.rstrip("\n"), NEW)


@only_sqlite
def test_every_hash_of_one_password_is_another(run):
    assert run("hash-password", stdin=NEW).stdout != run("hash-password", stdin=NEW).stdout


@only_sqlite
@pytest.mark.parametrize("password", ["", "\n", "short\n", "x" * 1025, b"\xff\xfe not text\n"])
def test_no_hash_is_made_of_a_password_that_cannot_be_used(run, password):
    result = run("hash-password", stdin=password)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "password" in result.stderr


@only_sqlite
def test_blanks_belong_to_the_password(app, alice, run):
    assert run("set-password", alice.email, stdin=f"  {NEW} \n").exit_code == 0
    with in_database(app):
        assert verify_password(db.session.get(User, alice.user_id).password_hash, f"  {NEW} ")


@only_sqlite
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"--subdomain": "www"}, "reserved"),
        ({"--subdomain": "hooks"}, "reserved"),
        ({"--subdomain": "Initech"}, "a-z"),
        ({"--subdomain": "-initech"}, "a-z"),
        ({"--subdomain": "initech-"}, "a-z"),
        ({"--subdomain": "ini.tech"}, "a-z"),
        ({"--subdomain": "ini_tech"}, "a-z"),
        ({"--subdomain": "initéch"}, "a-z"),
        ({"--subdomain": "initech\n"}, "a-z"),
        ({"--subdomain": "xn--initech"}, "xn--"),
        ({"--subdomain": "x" * 64}, "63"),
        ({"--subdomain": ""}, "a-z"),
        ({"--subdomain": "acme"}, "taken"),
        ({"--time-zone": "Mars/Olympus"}, "time_zone"),
        ({"--name": " "}, "name"),
        ({"--admin-email": "dora"}, "e-mail"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(app, alice, run, options, said):
    before = memberships(app)
    given = {"--name": "Initech", "--subdomain": "initech", "--admin-email": "dora@initech.example"} | options
    result = run("create-tenant", *(part for option in given.items() for part in option), stdin=f"{NEW}\n")
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
    assert memberships(app) == before


@only_sqlite
@pytest.mark.parametrize("password", ["", "\n", "short\n", "x" * 1025, b"\xff\xfe not text\n"])
def test_a_password_that_cannot_be_used_is_refused(app, alice, run, password):
    before = memberships(app)
    for arguments in (["set-password", alice.email], [*INITECH, "--admin-email", "dora@initech.example"]):
        result = run(*arguments, stdin=password)
        assert result.exit_code == 1
        assert "password" in result.output
    assert memberships(app) == before
    with in_database(app):
        assert verify_password(db.session.get(User, alice.user_id).password_hash, PASSWORD)


def test_an_unknown_user_is_refused_before_a_password_is_read(alice, run):
    result = run("set-password", "unknown@acme.example", stdin="")
    assert (result.exit_code, "no user" in result.output) == (1, True)


@only_sqlite
@pytest.mark.parametrize(
    "arguments",
    [["create-tenant"], ["set-password"], ["set-password", "a@b.example", NEW], [*INITECH], ["hash-password", NEW]],
)
def test_wrong_usage_is_status_2(app, run, arguments):
    assert run(*arguments).exit_code == 2


@only_sqlite
def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(app, alice, settings):
    script = (
        "from flask.cli import ScriptInfo; from tests.conftest import make_settings; from app import create_app\n"
        f"app = create_app(make_settings({settings.database_url!r}))\n"
        f"app.cli(['set-password', {alice.email!r}], obj=ScriptInfo(create_app=lambda: app))\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    shown = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while prompt not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, NEW.encode() + b"\n")
    try:
        while chunk := os.read(ours, 1024):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0, shown
    assert NEW.encode() not in shown
    with in_database(app):
        assert verify_password(db.session.get(User, alice.user_id).password_hash, NEW)
