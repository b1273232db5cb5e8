"""What Dockerfile and compose.yaml say, held against what the page promises."""

import json
import re

import pytest
import yaml

from app.config import PROJECT, VARIABLES
from tests.deploy.image import COMPOSE, SERVICES, copied, stages, values


class TestDockerfile:
    def test_both_stages_begin_with_the_python_that_the_suite_runs_on(self):
        version = (PROJECT / ".python-version").read_text().strip()
        assert [values(stage, "FROM")[0].split()[0] for stage in stages()] == [f"python:{version}-slim-bookworm"] * 2

    def test_packages_are_installed_by_hash_and_none_is_compiled(self):
        install = next(rest for rest in values(stages()[0], "RUN") if "pip install" in rest)
        assert {"--require-hashes", "--only-binary"} <= set(install.split())

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
        assert not re.search(r"^(ARG|ADD)\b|--mount", text, re.MULTILINE)
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
            assert given.keys() <= names
            assert not given.keys() & {variable.name for variable in VARIABLES if variable.secret}
            for variable in VARIABLES:
                assert not variable.required or variable.file_name in given
            for name, path in given.items():
                if name.endswith("_FILE"):
                    assert path.removeprefix("/run/secrets/") in SERVICES[service]["secrets"]
        mounted = {name for service in SERVICES.values() for name in service.get("secrets", [])}
        assert mounted == COMPOSE["secrets"].keys()

    def test_it_is_given_longer_to_stop_than_gunicorn_takes(self):
        graceful = int(re.search(r"graceful_timeout = (\d+)", (PROJECT / "gunicorn.conf.py").read_text())[1])
        assert int(SERVICES["web"]["stop_grace_period"].removesuffix("s")) > graceful
