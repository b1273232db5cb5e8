"""docs/incidents: the commands of each page do what it says, on an installation with a planted break-in.

Lines that begin with ``flask`` run in this process, but on the page of both keys, where each is a process with the
configuration that it has by then; all others run in a shell.
"""

import json
import os
import re
import shlex
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from sqlalchemy import insert, select, text

from app.api_keys.models import ApiKey
from app.audit import seals
from app.config import PROJECT, Settings
from app.database import now, uuid7
from app.extensions import db
from app.identity import tokens
from app.identity.models import Membership, Role, User, UserSession
from app.payments.models import PaymentAccount
from app.tenants.models import Tenant
from tests.calls.conftest import Hook, make_hook
from tests.conftest import PASSWORD, in_database, running, wait_for_senders
from tests.incident.conftest import World, started
from tests.servers.postgres import postgres_programs

FOLDER = PROJECT / "docs/incidents"
PAGES = ("key-compromise", "data-breach", "authentication-bypass", "injection")
STEPS = ("1 Isolate", "2 Assess", "3 Contain", "4 Investigate", "5 Recover", "6 Document")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INTRUDER = "eve@acme.example"
AS_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def commands(page: str) -> list[str]:
    found = FENCE.findall((FOLDER / f"{page}.md").read_text())
    return [line for block in found for line in block.splitlines() if line.strip()]


class Ran(NamedTuple):
    line: str
    status: int
    output: str


@dataclass
class Rehearsal:
    """Somebody who types a page's commands, in one shell. ``settings``: as they are configured at the moment."""

    settings: Settings
    variables: dict[str, str]
    typed: str = ""
    in_processes: bool = False
    ran: list[Ran] = field(default_factory=list)

    def follow(self, page: str, before: Callable[[str], None] = lambda line: None) -> dict[str, Ran]:
        """Run what comes before the first command and the page's commands; ``before`` each. Returns them by line."""
        for line in [*commands("README"), *commands(page)]:
            before(line)
            self.run(line)
        return {ran.line: ran for ran in self.ran}

    def run(self, line: str) -> None:
        assigned = re.match(r"(?:export )?([A-Z]+)=", line)
        if assigned is not None:
            planted = all(name in self.variables for name in re.findall(r"([A-Z]+)=", line.partition("$(")[0]))
            if not planted:
                self.variables[assigned[1]] = self.shell(f'{line}; echo "${assigned[1]}"').output.strip()
        elif line.startswith("flask ") and not self.in_processes:
            self.ran.append(self.flask(line))
        else:
            self.ran.append(self.shell(line))

    def shell(self, line: str) -> Ran:
        path = os.pathsep.join([str(Path(sys.executable).parent), str(postgres_programs()), os.environ["PATH"]])
        done = subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=PROJECT,
            env=os.environ | environment(self.settings) | self.variables | {"PATH": path},
            input=self.typed,
            capture_output=True,
            text=True,
        )
        return Ran(line, done.returncode, done.stdout + done.stderr)

    def flask(self, line: str) -> Ran:
        arguments = shlex.split(string.Template(line).substitute(self.variables), comments=True)
        into = arguments[-1] if ">" in arguments else None
        with running(self.settings) as app:
            done = app.test_cli_runner().invoke(args=arguments[1 : -2 if into else None], input=self.typed)
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        if into:
            Path(into).write_text(done.stdout)
        return Ran(line, done.exit_code, done.output)

    def evidence(self, name: str) -> str:
        return (Path(self.variables["EVIDENCE"]) / name).read_text()


def environment(settings: Settings) -> dict[str, str]:
    """The variables of a process with these settings. All are set, so that no file on this machine adds its own."""
    primary, *fallbacks = (secret.hex() for secret in settings.keyring.secrets())
    return {
        "APP_ENV": "development",
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "JWT_SECRET_KEY_FALLBACKS": "",
        "ENCRYPTION_KEY": primary,
        "ENCRYPTION_KEY_FALLBACKS": ",".join(fallbacks),
        "DATABASE_URL": settings.database_url,
        "ROTATION_DATABASE_URL": "",
        "REDIS_URL": "",
        "RESEND_API_KEY": "",
        "RESEND_FROM_EMAIL": "",
        "PUBLIC_URL": "https://audiapro.example",
    }


@dataclass(frozen=True)
class BreakIn:
    """What was planted: Alice's phone system delivered, and Eve has a session and a key that nobody made."""

    hook: Hook
    forged_key: str
    forged_session: str
    known_key: str


@pytest.fixture
def break_in(app, world, cast, monkeypatch) -> tuple[BreakIn, dict[str, str]]:
    """And the variables of the first box."""
    alice = cast["alice"]
    hook = make_hook(app, alice)
    hook.deliver()
    with in_database(app):
        db.session.add(Tenant(name="Bystander", subdomain="bystander"))
        db.session.commit()
        with monkeypatch.context() as patch:
            patch.setattr(seals, "LAG", timedelta(seconds=-1))
            digest = seals.seal(db.session()).digest
    since = now()
    app.extensions["audit_tally"]._begin()
    hook.deliver()
    assert alice.client.get("/api/calls/export").status_code == 200
    key = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "admin"})
    with in_database(app):
        tenant = db.session.get(Tenant, alice.tenant_id)
        member = Membership(user=User(email=INTRUDER, password_hash="x"), tenant=tenant, role=Role.ADMIN)
        db.session.add(member)
        db.session.flush()
        session = UserSession(
            tenant_id=tenant.id,
            membership_id=member.id,
            refresh_id=uuid7(),
            started_at=now(),
            used_at=now(),
            address="203.0.113.66",
            user_agent="x",
        )
        forged = ApiKey(
            tenant_id=tenant.id, name="Backdoor", role="admin", prefix="x" * 12, token_hash="x", created_by="nobody"
        )
        db.session.add_all([session, forged])
        db.session.commit()
        planted = BreakIn(hook, str(forged.id), str(session.id), key.json["id"])
    wait_for_senders()
    return planted, {"SINCE": since.isoformat(), "DIGEST": digest}


@pytest.fixture
def rehearsal(world: World, break_in, tmp_path) -> Rehearsal:
    _, variables = break_in
    url = urlsplit(world.before.database_url)
    return Rehearsal(
        world.before,
        {
            **variables,
            "EVIDENCE": str(tmp_path / "evidence"),
            "PGHOST": url.hostname or "",
            "PGPORT": str(url.port),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.path[1:],
            "PSQLRC": str(tmp_path / "evidence" / "psqlrc"),
            "OLD_ID": world.old.id,
        },
    )


@pytest.mark.parametrize("page", PAGES)
def test_each_page_has_the_six_steps_and_each_step_commands_or_a_way_on(page):
    headings = re.findall(r"^## (.+)$", (FOLDER / f"{page}.md").read_text(), re.MULTILINE)
    assert tuple(headings) == STEPS
    assert commands(page)


def succeeded(ran: dict[str, Ran], *others: str) -> None:
    """All but the lines that begin like this, and the doctor, who has to say much of an installation for tests."""
    failed = [one for one in ran.values() if one.status != 0 and not one.line.startswith(("flask doctor", *others))]
    assert failed == []


def the(ran: dict[str, Ran], *parts: str) -> Ran:
    """The one command that has these parts."""
    [found] = [one for line, one in ran.items() if all(part in line for part in parts)]
    return found


@AS_POSTGRESQL
def test_the_page_of_both_keys(world, rehearsal, break_in, alice):
    planted, _ = break_in
    with running(world.before) as app, app.app_context():
        access = tokens.access_token(alice.subject)
    rotations: list[Settings] = [world.before, world.during, world.after]

    def configure(line: str) -> None:
        if line.startswith("flask incident rotate-all"):
            rehearsal.settings = rotations.pop(0)

    rehearsal.in_processes = True
    rehearsal.typed = f"{world.new.id}\n"
    ran = rehearsal.follow("key-compromise", configure)
    statuses = [one.status for one in rehearsal.ran if one.line.startswith("flask incident rotate-all")]
    assert statuses == [4, 4, 0], rehearsal.ran
    succeeded(ran, "flask incident rotate-all")

    assert [tenant["subdomain"] for tenant in json.loads(rehearsal.evidence("report.json"))["tenants"]] == ["acme"]
    assert "\nbystander" not in rehearsal.evidence("report.txt")
    assert "USED" in next(line for line in rehearsal.evidence("report.txt").splitlines() if "webhook password" in line)
    to_tell = rehearsal.evidence("to-tell.txt")
    assert to_tell.startswith("acme (Acme)\n  tell: alice@acme.example (owner), eve@acme.example (admin)\n")
    assert "client secret of the payment account paypal live" in to_tell
    assert "\n1 tenant has secrets" in to_tell
    proof = json.loads(rehearsal.evidence("proof.json"))
    assert proof["done"] is True
    assert proof["encryption_key"] == {"from": [world.old.id], "to": world.new.id, "retired": [world.old.id]}
    assert proof["values_opened"] == proof["values_rotated"] >= 4
    assert proof["sessions_ended"] == 4
    assert "incident.keys_replaced" in the(ran, "flask audit list").output
    assert planted.forged_key in the(ran, "psql", "api_key.created").output
    assert planted.known_key not in the(ran, "psql", "api_key.created").output
    assert "Nothing was altered." in rehearsal.evidence("audit-verify.txt")

    with started(world.after) as app:
        assert app.test_client().get("/api/me", headers={"Authorization": f"Bearer {access}"}).status_code == 401
        hook = Hook(app, planted.hook.path, planted.hook.username, planted.hook.password)
        assert hook.deliver().status_code == 200
        with in_database(app):
            assert db.session.scalars(select(PaymentAccount)).one().client_secret == "canary-x"


@AS_POSTGRESQL
def test_the_page_of_a_data_breach(world, rehearsal, break_in):
    planted, _ = break_in
    shut: list[int] = []

    def look(line: str) -> None:
        if line.startswith("pg_dump"):
            shut.append(planted.hook.deliver().status_code)

    ran = rehearsal.follow("data-breach", look)
    succeeded(ran)
    assert shut == [401]
    assert planted.hook.deliver().status_code < 300
    counted = the(ran, "psql", "AS calls").output
    assert {name: name in counted for name in ("acme", "others", "bystander")} == dict.fromkeys(
        ("acme", "others", "bystander"), True
    )
    [acme] = json.loads(rehearsal.evidence("report.json"))["tenants"]
    assert {person["email"] for person in acme["tell"]} == {"alice@acme.example", INTRUDER}
    assert rehearsal.evidence("audit.csv").startswith("id,")
    assert "secret.used" in rehearsal.evidence("audit.csv")
    assert "alice@acme.example" in the(ran, "psql", "calls.exported").output


@AS_POSTGRESQL
def test_the_page_of_an_authentication_bypass(world, rehearsal, break_in):
    planted, _ = break_in
    rehearsal.variables |= {"EMAIL": INTRUDER, "TENANT": "acme"}
    rehearsal.typed = f"{PASSWORD}\n"
    ran = rehearsal.follow("authentication-bypass")
    succeeded(ran)
    assert "203.0.113.66" in the(ran, "psql", "s.user_agent").output
    made_by_nobody = the(ran, "psql", "session.started").output
    assert planted.forged_session in made_by_nobody
    assert "(1 row)" in made_by_nobody
    assert "Wallboard" in the(ran, "psql", "api_key.%").output
    with running(world.before) as app, in_database(app):
        eve = db.session.scalars(select(User).where(User.email == INTRUDER)).one()
        assert eve.memberships[0].role == Role.MEMBER
        assert eve.password_hash != "x"
        assert eve.disabled_at is None
        assert db.session.get(UserSession, planted.forged_session).ended_at is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_account_that_was_taken_over_may_be_the_only_owners(world, rehearsal):
    rehearsal.variables |= {"EMAIL": "alice@acme.example", "TENANT": "acme"}
    for line in commands("authentication-bypass"):
        if line.startswith(("flask suspend-tenant", "flask disable-user")):
            rehearsal.run(line)
    assert [ran.status for ran in rehearsal.ran] == [0, 0, 0, 0], rehearsal.ran


@AS_POSTGRESQL
def test_the_page_of_an_injection(world, rehearsal, break_in, cast):
    planted, _ = break_in
    with running(world.before) as app, in_database(app):
        db.session.execute(text("CREATE FUNCTION planted_by_eve() RETURNS int LANGUAGE sql AS 'SELECT 1'"))
        db.session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER append_only"))
        db.session.connection().execute(
            text("UPDATE audit_events SET actor_name = 'nobody' WHERE action LIKE '%.created'")
        )
        db.session.execute(text("ALTER TABLE audit_events ENABLE TRIGGER append_only"))
        db.session.execute(text("CREATE RULE eves_rule AS ON DELETE TO sessions DO ALSO NOTHING"))
        account = db.session.scalars(select(PaymentAccount)).one()
        table = PaymentAccount.__table__
        db.session.connection().execute(
            insert(table).values(
                id=uuid7(),
                tenant_id=cast["charlie"].tenant_id,
                provider="paypal",
                mode="live",
                created_at=now(),
                updated_at=now(),
                client_secret_encrypted=account.client_secret_encrypted,
            )
        )
        db.session.commit()
    try:
        ran = rehearsal.follow("injection")
    finally:
        with running(world.before) as app, in_database(app):
            db.session.execute(text("DROP FUNCTION planted_by_eve"))
            db.session.execute(text("DROP RULE eves_rule ON sessions"))
            db.session.commit()
    succeeded(ran, "flask audit verify", "flask encryption verify")
    verified = the(ran, "flask audit verify")
    assert verified.status == 1
    assert "altered" in verified.output
    moved = the(ran, "flask encryption verify")
    assert (moved.status, "1 did not" in moved.output) == (1, True)
    assert "planted_by_eve" in the(ran, "psql", "pg_proc").output
    assert re.search(r"audit_events +\| append_only +\| t\n", the(ran, "psql", "pg_trigger").output)
    rules = the(ran, "psql", "pg_rewrite").output
    assert "eves_rule" in rules
    assert "(1 row)" in rules
    assert planted.forged_session in the(ran, "psql", "session.started").output
    assert planted.forged_key in the(ran, "psql", "api_key.created").output
    assert INTRUDER in the(ran, "psql", "m.updated_at").output


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_are_ours_run_on_sqlite_too(page, world, rehearsal):
    """Without the programs that are PostgreSQL's. The keys: see test_rotate_all."""
    rehearsal.variables |= {"EMAIL": INTRUDER, "TENANT": "acme"}
    rehearsal.typed = f"{PASSWORD}\n"
    for line in [*commands("README"), *commands(page)]:
        if not line.startswith(("psql", "pg_dump", "flask incident rotate-all")):
            rehearsal.run(line)
    succeeded({ran.line: ran for ran in rehearsal.ran})


@AS_POSTGRESQL
def test_psql_can_only_read_in_that_shell(rehearsal):
    for line in commands("README"):
        rehearsal.run(line)
    refused = rehearsal.shell('psql -c "DELETE FROM one_time_tokens"')
    assert refused.status == 1
    assert "read-only transaction" in refused.output


def test_the_deadlines_and_the_template_are_there():
    index = (FOLDER / "README.md").read_text()
    for needed in ("72 hours", "article 33", "## Who decides", "## The file of the incident", "SHA-256", "Rehearse"):
        assert needed in index
    for page in PAGES:
        assert f"({page}.md)" in index
