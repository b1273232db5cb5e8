"""The files of each platform say what their pages promise, and nothing secret."""

import configparser
import json
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import MAXIMUM_BODY_BYTES
from app.config import PROJECT, VARIABLES, load_settings
from app.connections import SPARE
from app.database import POOL_SIZE
from tests.deploy.conftest import code_blocks, unit

NAMES = {variable.name for variable in VARIABLES}
SECRETS = {variable.name for variable in VARIABLES if variable.secret}
REQUIRED = {variable.name for variable in VARIABLES if variable.required}
MADE = REQUIRED | {"METRICS_TOKEN"}  # for every installation
CONFIGURATION = (PROJECT / "docs/configuration.md").read_text()
PAGES = sorted((PROJECT / "docs/deploy").glob("*.md"))

APP_JSON: dict[str, Any] = json.loads((PROJECT / "app.json").read_text())
EXTENSIONS: dict[str, Any] = yaml.safe_load((PROJECT / ".ebextensions/audiapro.config").read_text())
OPTIONS = EXTENSIONS["option_settings"]
APP_SPEC: dict[str, Any] = yaml.safe_load((PROJECT / ".do/app.yaml").read_text())
GRACEFUL = int(re.search(r"graceful_timeout = (\d+)", (PROJECT / "gunicorn.conf.py").read_text())[1])

GENERATED = (
    ("00f1e2d3c4b5a6978877665544332211" * 2)[:-4] + "90ab",
    "8f14e45fceea167a5a36dedd4bea2543" + "ab" * 16,
    "c9f0f895fb98ab9159f51fd0297e236d" + "cd" * 16,
)


def load(given: dict[str, str]) -> Any:
    return load_settings({"JWT_SECRET_KEY": GENERATED[0], "ENCRYPTION_KEY": GENERATED[1]} | given, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_one(page: Path) -> None:
    words = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b=?", page.read_text()))
    files = {variable.file_name for variable in VARIABLES if variable.secret}
    elsewhere = {"YOUR_APP", "APP_ID", "CLUSTER_ID", "OLD_ID", "THE_ACCESS_TOKEN", "PRE_DEPLOY", "BUILD_TIME"}
    clients = {word for word in words if word.startswith(("AWS_", "VAULT_"))}
    assert words <= NAMES | files | elsewhere | clients
    assert {name.removesuffix("_FILE") for name in clients} <= set(re.findall(r"\w+", CONFIGURATION))


DOCTOR = {
    "docker.md": "docker compose exec web flask doctor\n",
    "single-server.md": "audiapro-flask doctor\n",
    "heroku.md": "heroku run -- flask doctor\n",
    "elastic-beanstalk.md": "sudo /var/app/current/deploy/elastic-beanstalk/flask doctor\n",
    "digitalocean.md": "\nflask doctor\n",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_every_page_says_how_to_run_the_doctor_and_how_metrics_are_had(page: Path) -> None:
    first_start, _, _ = page.read_text().partition("\n## What is ")
    assert DOCTOR[page.name] in first_start
    assert re.search("metrics_token", page.read_text(), re.IGNORECASE)
    assert "observability.md#setting-it-up" in page.read_text()


def test_seals_are_made_every_hour_wherever_it_is_said() -> None:
    assert unit("audiapro-seal.timer")["Timer"]["OnCalendar"] == "hourly"
    for page in PAGES:
        said = re.findall(r"audit seal.*(?:daily|every day)|(?:daily|every day).*audit seal", page.read_text())
        assert said == [], page.name
        assert page.name == "README.md" or "[every hour](../audit.md#how-often)" in page.read_text()


def test_old_call_records_are_removed_every_day_wherever_it_is_said() -> None:
    assert unit("audiapro-retention.timer")["Timer"]["OnCalendar"] == "daily"
    assert unit("audiapro-retention.service")["Service"]["ExecStart"].endswith("/flask calls remove-old")
    for page in PAGES:
        assert re.search(r"calls remove-old|audiapro-retention\.timer", page.read_text()), page.name
        assert page.name == "README.md" or "[every day](../retention.md)" in page.read_text()


class TestHeroku:
    def test_its_generator_makes_the_keys_and_no_secret_has_a_value(self):
        env = APP_JSON["env"]
        assert env.keys() <= NAMES
        assert {name for name, entry in env.items() if entry.get("generator") == "secret"} == MADE
        assert not any("value" in entry for name, entry in env.items() if name in SECRETS)

    def test_what_its_generator_makes_is_accepted(self):
        given = {name: entry["value"] for name, entry in APP_JSON["env"].items() if "value" in entry}
        settings = load(given | {"METRICS_TOKEN": GENERATED[2]})
        assert settings.keyring.primary.id
        assert settings.metrics_token == GENERATED[2]
        assert (settings.trusted_proxy_hops, settings.sign_up_open) == (1, False)

    def test_what_its_add_ons_set_is_accepted(self):
        given = {name: entry["value"] for name, entry in APP_JSON["env"].items() if "value" in entry}
        settings = load(
            given | {"DATABASE_URL": "postgres://u:p@ec2.example:5432/d", "REDIS_URL": "rediss://:p@ec2.example:6380"}
        )
        assert settings.database_url == "postgresql+psycopg://u:p@ec2.example:5432/d?sslmode=require"
        assert settings.redis_url == "rediss://:p@ec2.example:6380?ssl_cert_reqs=none"
        assert [addon["plan"] for addon in APP_JSON["addons"]] == ["heroku-postgresql:essential-0", "heroku-redis:mini"]

    def test_its_processes_fit_the_connections_of_the_plan(self):
        processes = int(APP_JSON["env"]["WEB_CONCURRENCY"]["value"])
        assert 2 * processes * POOL_SIZE + SPARE <= 20  # the old release's beside the new one's

    def test_the_page_sets_what_app_json_sets(self):
        commands = "".join(code_blocks("docs/deploy/heroku.md"))
        for name, entry in APP_JSON["env"].items():
            assert f"{name}={entry.get('value', '')}" in commands, name


class TestElasticBeanstalk:
    def test_variables_are_known_and_none_is_a_secret(self):
        given = OPTIONS["aws:elasticbeanstalk:application:environment"]
        assert given.keys() <= NAMES - SECRETS
        settings = load(given)
        assert (settings.port, settings.trusted_proxy_hops) == (8000, 2)
        commands = "".join(code_blocks("docs/deploy/elastic-beanstalk.md"))
        assert all(f"{name}=" in commands for name in MADE | {"DATABASE_URL", "REDIS_URL"})

    def test_one_instance_migrates_and_its_load_balancer_asks_for_readiness(self):
        assert EXTENSIONS["container_commands"] == {
            "01_migrate": {
                "command": "source /var/app/venv/*/bin/activate && flask db upgrade",
                "leader_only": True,
            }
        }
        process = OPTIONS["aws:elasticbeanstalk:environment:process:default"]
        assert process["HealthCheckPath"] == "/readyz"
        assert int(process["DeregistrationDelay"]) > GRACEFUL

    @pytest.mark.parametrize("when", ["hooks", "confighooks"])
    def test_the_hook_leaves_nothing_in_the_procfile_but_what_is_to_be_kept_running(self, tmp_path, when):
        hook = PROJECT / f".platform/{when}/prebuild/10_procfile.sh"
        assert hook.stat().st_mode & 0o111 == 0o111
        assert hook.read_text() == (PROJECT / ".platform/hooks/prebuild/10_procfile.sh").read_text()
        subprocess.run([str(hook)], cwd=tmp_path, check=True)
        procfile = tmp_path / "Procfile"
        procfile.write_text((PROJECT / "Procfile").read_text())
        for _ in range(2):  # the second time there is nothing to do
            subprocess.run([str(hook)], cwd=tmp_path, check=True)
            assert procfile.read_text() == "web: gunicorn wsgi:app\n"

    def test_the_command_on_an_instance_has_the_environments_variables(self, tmp_path):
        release, venv = tmp_path / "current", tmp_path / "venv/staging-LQM1lest/bin"
        release.mkdir()
        venv.mkdir(parents=True)
        (venv / "flask").write_text('#!/bin/sh\necho "$ENCRYPTION_KEY" "$HOME" "$PWD" "$@"\n')
        (tmp_path / "get-config").write_text("""#!/bin/sh\necho '{"ENCRYPTION_KEY": "a b=\\"c", "PORT": 8000}'\n""")
        for program in (venv / "flask", tmp_path / "get-config"):
            program.chmod(0o755)
        text = (PROJECT / "deploy/elastic-beanstalk/flask").read_text()
        for real, here in (
            ("/opt/elasticbeanstalk/bin", str(tmp_path)),
            ("/var/app", str(tmp_path)),
            ('pwd.getpwnam("webapp")', "pwd.getpwuid(os.getuid())"),
            ("os.initgroups(", "pass  # ("),  # for root alone
        ):
            assert real in text
            text = text.replace(real, here)
        ran = subprocess.run(["python3", "-", "db", "a b"], input=text, capture_output=True, text=True, check=True)
        home = pwd.getpwuid(os.getuid()).pw_dir
        assert ran.stdout == f'a b="c {home} {release} db a b\n'

    def test_nothing_that_git_ignores_is_uploaded(self, tmp_path):
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        for names in ((PROJECT / ".gitignore").read_text(), (PROJECT / ".ebignore").read_text()):
            (tmp_path / ".gitignore").write_text(names)
            ignored = [".env", ".env.production", "app/.env", "my.env", "x.db", "x.db-wal", "secrets/encryption_key"]
            ignored += ["instance/audiapro.db", "x.db.rotation-lock", "app/__pycache__/x.pyc", ".venv/bin/python"]
            asked = subprocess.run(
                ["git", "check-ignore", *ignored], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert asked.stdout.split() == ignored
        kept = [".flaskenv", ".platform/hooks/prebuild/10_procfile.sh", ".ebextensions/audiapro.config", "Procfile"]
        kept += ["requirements.txt", "app/config.py", "migrations/env.py", "deploy/elastic-beanstalk/flask"]
        assert subprocess.run(["git", "check-ignore", *kept], cwd=tmp_path, check=False).returncode == 1


class TestDigitalOcean:
    def test_secrets_have_no_value_and_everything_else_is_accepted(self):
        envs = {entry["key"]: entry for entry in APP_SPEC["envs"]}
        assert envs.keys() <= NAMES
        secret = {name for name, entry in envs.items() if entry.get("type") == "SECRET"}
        assert secret == MADE
        assert not any("value" in envs[name] for name in secret)
        assert all(entry["scope"] == "RUN_TIME" for entry in envs.values())
        bound = {"${db.DATABASE_URL}": "postgresql://u:p@h:25060/d?sslmode=require", "${APP_URL}": "https://a.example"}
        bound["${cache.DATABASE_URL}"] = "rediss://default:p@h:25061"
        given = {name: bound.get(entry["value"], entry["value"]) for name, entry in envs.items() if "value" in entry}
        settings = load(given)
        assert not re.search(r"\$\{", "".join(value for value in given.values()))
        assert (settings.trusted_proxy_hops, settings.client_address_header) == (1, "DO-Connecting-IP")

    def test_its_processes_fit_the_connections_of_the_smallest_database(self):
        (processes,) = [int(entry["value"]) for entry in APP_SPEC["envs"] if entry["key"] == "WEB_CONCURRENCY"]
        assert 2 * processes * POOL_SIZE + SPARE <= 22  # the old release's beside the new one's
        assert f"`WEB_CONCURRENCY={processes}`" in (PROJECT / "docs/deploy/digitalocean.md").read_text()

    def test_the_database_is_migrated_before_a_deployment(self):
        (job,) = APP_SPEC["jobs"]
        assert (job["kind"], job["run_command"]) == ("PRE_DEPLOY", "flask db upgrade")
        bound = set(re.findall(r"\$\{(\w+)\.", (PROJECT / ".do/app.yaml").read_text()))
        assert {database["name"] for database in APP_SPEC["databases"]} == bound

    def test_the_service_is_given_time_and_asked_where_it_listens(self):
        (service,) = APP_SPEC["services"]
        assert service["termination"]["grace_period_seconds"] > GRACEFUL
        assert service["health_check"]["http_path"] == "/readyz"
        assert f"PORT={service['http_port']}" in (PROJECT / "Dockerfile").read_text()


def size(text: str) -> int:
    """Bytes, of what nginx and Caddy write."""
    number, unit_ = re.fullmatch(r"(\d+) ?(m|MiB)", text).groups()
    return int(number) * {"m": 2**20, "MiB": 2**20}[unit_]


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("deploy/nginx/audiapro.conf", r"client_max_body_size (.*);"),
        (".platform/nginx/conf.d/audiapro.conf", r"client_max_body_size (.*);"),
        ("deploy/caddy/Caddyfile", r"max_size (.*)"),
    ],
)
def test_proxies_take_bodies_as_large_as_the_application(path: str, pattern: str) -> None:
    assert size(re.search(pattern, (PROJECT / path).read_text())[1]) == MAXIMUM_BODY_BYTES


@pytest.mark.parametrize("path", ["deploy/nginx/audiapro.conf", "deploy/caddy/Caddyfile"])
def test_hsts_is_left_to_the_application(path: str) -> None:
    directives = re.sub(r"#.*", "", (PROJECT / path).read_text())
    assert "Strict-Transport-Security" not in directives


def test_web_processes_have_a_connection_for_every_thread_and_every_sender() -> None:
    from app.mail import service

    threads = int(re.search(r"^threads = (\d+)$", (PROJECT / "gunicorn.conf.py").read_text(), re.MULTILINE)[1])
    assert threads + service._at_once._initial_value == POOL_SIZE


class TestSystemd:
    COMMON = (PROJECT / "deploy/systemd/audiapro-.service.d/common.conf").read_text()

    def test_credentials_are_files_and_every_variable_of_one_is_known(self):
        loaded = dict(re.findall(r"^LoadCredential=(\w+):(.*)$", self.COMMON, re.MULTILINE))
        given = dict(re.findall(r"^Environment=(\w+_FILE)=(.*)$", self.COMMON, re.MULTILINE))
        assert given == {f"{name.upper()}_FILE": f"%d/{name}" for name in loaded}
        assert {name.upper() for name in loaded} <= SECRETS | {"VAULT_TOKEN"}
        assert {name.upper() for name in loaded} >= MADE | {"VAULT_TOKEN"}
        assert all(path == f"/etc/audiapro/{name}" for name, path in loaded.items())
        wrapper = (PROJECT / "deploy/systemd/audiapro-flask").read_text()
        names = re.search(r"for name in (.*?); do", wrapper, re.DOTALL)[1].replace("\\\n", "")
        assert names.split() == [*loaded]

    def test_processes_of_others_are_hidden_and_what_metrics_are_made_of_is_not(self):
        settings = re.findall(r"^(Proc\w+|ProtectProc)=(.*)$", self.COMMON, re.MULTILINE)
        assert settings == [("ProtectProc", "invisible")]

    def test_nothing_stands_on_the_way_of_a_start_that_cannot_succeed(self):
        service = unit("audiapro-web.service")["Service"]
        assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "78")
        assert int(service["TimeoutStopSec"]) > GRACEFUL
        assert service["Type"] == "notify"

    def test_units_are_in_order(self, tmp_path):
        units = sorted((PROJECT / "deploy/systemd").glob("audiapro-*.*"))
        assert [path.name for path in units if path.is_file()] == [
            f"audiapro-{name}"
            for name in (
                "mail.service",
                "migrate.service",
                "retention.service",
                "retention.timer",
                "seal.service",
                "seal.timer",
                "web.service",
            )
        ]
        for path in units:
            if path.is_file():
                parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
                parser.read_string(path.read_text())
                assert parser["Unit"]["Description"].startswith("AudiaPro, ")
