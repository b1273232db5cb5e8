"""What Dockerfile and compose.yaml say, held against what the page promises."""

import json
import re
import subprocess

import pytest
import yaml
from cryptography.fernet import Fernet

from app.config import PROJECT, VARIABLES, load_settings
from tests.deploy.image import COMPOSE, SERVICES, copied, stages, values, with_empty_env_file

# What `.env` cannot say, and why.
LEFT_OUT = {
    "APP_ENV": "an image is for production",
    "FLASK_DEBUG": "an image is for production",
    "PORT": "the proxy's way in, and the health check, are at the image's own",
}
# Of the clients of the stores of secrets.
CLIENTS = re.compile(r"(AWS|VAULT)_[A-Z_]+")


def installing() -> str:
    (found,) = [rest for rest in values(stages()[0], "RUN") if "pip install" in rest]
    return found


class TestDockerfile:
    def test_both_stages_begin_with_the_python_that_the_suite_runs_on(self):
        version = (PROJECT / ".python-version").read_text().strip()
        assert [values(stage, "FROM")[0].split()[0] for stage in stages()] == [f"python:{version}-slim-bookworm"] * 2

    def test_packages_are_installed_by_hash_and_none_is_compiled(self):
        assert {"--require-hashes", "--only-binary"} <= set(installing().split())

    @pytest.mark.parametrize(
        ("extras", "files"),
        [
            ("", []),
            ("aws", ["requirements-aws.txt"]),
            ("aws vault", ["requirements-aws.txt", "requirements-vault.txt"]),
        ],
    )
    def test_clients_of_stores_of_secrets_are_installed_where_they_are_asked_for(self, tmp_path, extras, files):
        pip = tmp_path / "pip"
        pip.write_text('#!/bin/sh\necho "$@"\n')
        pip.chmod(0o755)
        command = installing().replace("/opt/venv/bin/pip", str(pip))
        ran = subprocess.run(["sh", "-c", command], env={"EXTRAS": extras}, capture_output=True, text=True, check=True)
        assert re.findall(r"-r (\S+)", ran.stdout) == ["requirements.txt", *files]
        assert set(files) <= set(copied(stages()[0]))
        assert SERVICES["web"]["build"]["args"] == {"EXTRAS": "${EXTRAS:-}"}

    def test_the_image_runs_as_a_user_of_its_own_and_has_nothing_but_what_was_built(self):
        last = stages()[1]
        assert values(last, "USER") == ["10001:10001"]
        assert [name for name, _ in last].index("USER") > max(
            number for number, (name, _) in enumerate(last) if name in ("COPY", "RUN", "WORKDIR")
        )
        assert copied(last) == []
        assert values(last, "RUN") == []

    def test_no_secret_is_given_while_it_is_built(self):
        text = (PROJECT / "Dockerfile").read_text()
        assert not re.search(r"^ADD\b|--mount", text, re.MULTILINE)
        assert [values(stage, "ARG") for stage in stages()] == [['EXTRAS=""'], []]
        for variable in VARIABLES:
            assert not variable.secret or variable.name not in text

    def test_gunicorn_is_started_without_a_shell_so_that_it_hears_sigterm(self):
        last = stages()[1]
        assert json.loads(values(last, "CMD")[0]) == ["gunicorn", "wsgi:app"]
        assert json.loads(values(last, "HEALTHCHECK")[0].partition("CMD ")[2]) == ["python", "healthcheck.py"]

    def test_the_context_holds_what_is_copied_and_nothing_else(self):
        first, *others = [
            line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
        ]
        allowed = {line[1:].removesuffix("/**") for line in others if line.startswith("!")}
        assert first == "*"
        assert allowed == set(copied(stages()[0]))
        assert all((PROJECT / path).exists() for path in allowed)


class TestCompose:
    def test_nothing_is_published_but_the_service_to_the_proxy_of_this_machine(self):
        published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
        assert published == {"web": ["127.0.0.1:8000:8000"]}
        assert COMPOSE["networks"]["private"]["internal"] is True
        assert [name for name, service in SERVICES.items() if service["networks"] == ["private"]] == ["db", "redis"]

    def test_what_is_commented_out_for_development_publishes_to_this_machine_alone(self):
        text = (PROJECT / "compose.yaml").read_text()
        swapped = re.sub(
            r"    networks: \[private\]\n(    # For dev.*\n)    # (.*)\n    # (.*)\n", r"    \2\n    \3\n", text
        )
        opened = yaml.safe_load(swapped)["services"]
        assert opened["db"]["ports"] == ["127.0.0.1:5432:5432"]
        assert opened["redis"]["ports"] == ["127.0.0.1:6379:6379"]
        assert opened["db"]["networks"] == opened["redis"]["networks"] == ["private", "outside"]

    @pytest.mark.parametrize("name", SERVICES)
    def test_every_service_may_do_as_little_as_possible(self, name):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "pid", "network_mode"} & service.keys()
        assert service["image"] == "audiapro:local" or service["user"] in ("postgres", "redis")

    def test_the_service_waits_for_its_database_to_be_migrated(self):
        assert SERVICES["web"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert SERVICES["migrate"]["depends_on"]["db"] == {"condition": "service_healthy"}
        assert SERVICES["migrate"]["command"] == ["flask", "db", "upgrade"]
        assert SERVICES["migrate"]["restart"] == "no"

    def test_variables_are_known_and_secrets_are_files(self):
        names = {variable.name for variable in VARIABLES} | {v.file_name for v in VARIABLES if v.secret}
        for service in ("web", "migrate", "mail"):
            given = SERVICES[service]["environment"]
            assert {name for name in given if not CLIENTS.fullmatch(name)} <= names
            assert not given.keys() & {variable.name for variable in VARIABLES if variable.secret}
            for variable in VARIABLES:
                assert not variable.required or variable.file_name in given
            for name, path in given.items():
                if name.endswith("_FILE"):
                    assert path.removeprefix("/run/secrets/") in SERVICES[service]["secrets"]
        mounted = {name for service in SERVICES.values() for name in service.get("secrets", [])}
        assert mounted == COMPOSE["secrets"].keys()

    def test_every_variable_that_is_no_secret_can_be_set_in_env_file(self):
        given = SERVICES["web"]["environment"]
        for variable in VARIABLES:
            if not variable.secret and variable.name not in LEFT_OUT:
                assert given[variable.name].startswith(f"${{{variable.name}:-"), variable.name
        assert not LEFT_OUT.keys() & given.keys()
        assert all(value is None for name, value in given.items() if CLIENTS.fullmatch(name) and name[-5:] != "_FILE")

    def test_without_an_env_file_all_is_as_by_default_but_what_the_page_says(self):
        keys = {"JWT_SECRET_KEY": Fernet.generate_key().decode(), "ENCRYPTION_KEY": Fernet.generate_key().decode()}
        given = {name: value for name, value in with_empty_env_file().items() if not name.endswith("_FILE")}
        settings = load_settings(given | keys, None)
        by_default = load_settings(keys | {"SIGNUP": "closed", "TRUSTED_PROXY_HOPS": "1"}, None)
        assert vars(settings) | {"keyring": None} == vars(by_default) | {"keyring": None}

    def test_it_is_given_longer_to_stop_than_gunicorn_takes(self):
        graceful = int(re.search(r"graceful_timeout = (\d+)", (PROJECT / "gunicorn.conf.py").read_text())[1])
        assert int(SERVICES["web"]["stop_grace_period"].removesuffix("s")) > graceful
