import json
import re
from urllib.parse import urlencode

import pytest

from app.phone_systems.vendors.records import FORM, JSON
from tests.calls.conftest import make_hook


@pytest.fixture
def spec(client):
    return client.get("/openapi.json").json


def operations(spec):
    return {
        (method.upper(), path): operation
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }


def test_the_description_is_valid(spec):
    assert spec["openapi"] == "3.1.0"
    import schemathesis  # takes seconds, which not every worker should spend

    schemathesis.openapi.from_dict(spec).validate()


def test_every_reference_leads_somewhere(spec):
    for name in re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(spec)):
        assert name in spec["components"]["schemas"]
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


NOT_OF_THE_API = {"openapi", "documentation", "bootstrap", "dashboard", "metrics"}


def test_every_route_is_described(app, spec):
    routes = {
        (method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.endpoint.partition(".")[0] not in app.extensions["pages"] | NOT_OF_THE_API
    }
    assert routes <= operations(spec).keys()
    assert all(operation["summary"] and operation["tags"] for operation in operations(spec).values())


def test_what_needs_a_token_says_so(spec):
    described = operations(spec)
    assert described["POST", "/api/refresh"]["security"] == [{"refresh_token": []}]
    assert described["GET", "/api/me"]["security"] == [{"access_token": []}]
    assert described["GET", "/api/phone-systems"]["security"] == [{"access_token": []}, {"api_key": []}]
    assert described["GET", "/api/calls"]["security"] == [{"access_token": []}, {"api_key": []}]
    assert described["GET", "/api/api-keys"]["security"] == [{"access_token": []}]
    assert described["POST", "/hooks/{subdomain}/{phone_system_id}/cdr"]["security"] == [
        {"webhook_credentials": []},
        {"webhook_signature": []},
    ]
    assert "security" not in described["POST", "/api/login"]


def test_errors_are_described_as_problems(spec):
    for (_, path), operation in operations(spec).items():
        for status, response in operation["responses"].items():
            if status >= "400" and path != "/readyz":  # which says what is wrong in its own words
                (media_type,) = response["content"]
                assert media_type == "application/problem+json"
                assert response["content"][media_type]["example"]["status"] == int(status)
                assert response["description"] not in ("", response["content"][media_type]["example"]["title"])


def test_no_answer_has_a_secret_but_those_that_were_generated(spec):
    shown = set()
    for operation in operations(spec).values():
        for response in operation["responses"].values():
            for media in response.get("content", {}).values():
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                shown |= {(name, field) for field in spec["components"]["schemas"].get(name, {}).get("properties", {})}
    secrets = {"password", "webhook_password", "client_secret", "secret", "key", "recovery_codes"}
    assert {entry for entry in shown if entry[1] in secrets} == {
        ("PhoneSystemCreated", "webhook_password"),
        ("WebhookPasswordRotated", "webhook_password"),
        ("EnrolmentOut", "secret"),
        ("RecoveryCodes", "recovery_codes"),
        ("ApiKeyCreated", "key"),
    }


def test_a_change_has_no_defaults_that_would_remove_something(spec):
    for name in ("PhoneSystemChanges", "PaymentAccountChanges", "ApiCredentialChanges"):
        schema = spec["components"]["schemas"][name]
        assert not any("default" in field for field in schema["properties"].values())
        assert "required" not in schema


def test_every_body_has_an_example(spec):
    for name, operation in operations(spec).items():
        for described in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in described.get("content", {}).values():
                assert media.keys() & {"example", "examples"}, name


def test_every_field_has_an_example_that_fits(spec):
    import jsonschema_rs

    for name, operation in operations(spec).items():
        for described in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in described.get("content", {}).values():
                examples = [one["value"] for one in media.get("examples", {}).values()] or [media["example"]]
                validator = jsonschema_rs.validator_for(media["schema"] | {"components": spec["components"]})
                assert [str(error) for one in examples for error in validator.iter_errors(one)] == [], name


def test_every_parameter_and_whatever_its_name_does_not_explain_is_described(spec):
    for operation in operations(spec).values():
        for parameter in operation["parameters"]:
            assert parameter.get("description") or parameter["schema"].get("description"), parameter
    explained = {"id", "name", "email", "field", "message", "provider", "status", "items", "user", "tenant"}
    explained |= {
        "caller_name",
        "started_at",
        "ended_at",
        "created_at",
        "token_type",
        "description",
        "links",
        "password",
    }
    for name, schema in spec["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            understood = field in explained or field.endswith("_changed_at")
            assert understood or "description" in described, (name, field)


def test_what_the_examples_send_is_taken(alice, spec):
    for (method, path), operation in operations(spec).items():
        if method == "POST" and "Location" in operation["responses"].get("201", {}).get("headers", ()):
            example = operation["requestBody"]["content"]["application/json"]["example"]
            created = alice.client.post(path, json=example)
            shown = operation["responses"]["201"]["content"]["application/json"]["example"]
            assert (created.status_code, created.json.keys() | {"webhook_password"}) == (
                201,
                shown.keys() | {"webhook_password"},
            )
            if ("PATCH", f"{path}/{{id}}") not in operations(spec):
                continue
            change = operations(spec)["PATCH", f"{path}/{{id}}"]["requestBody"]["content"]["application/json"][
                "example"
            ]
            changed = alice.client.patch(created.headers["Location"], json=change)
            assert (changed.status_code, changed.json["version"]) == (200, 2), changed.json


def test_what_the_examples_deliver_is_taken(app, alice, spec):
    operation = operations(spec)["POST", "/hooks/{subdomain}/{phone_system_id}/cdr"]
    for media_type, media in operation["requestBody"]["content"].items():
        for vendor, example in media["examples"].items():
            hook = make_hook(app, alice, vendor=vendor)
            value = example["value"]
            body = {JSON: json.dumps, FORM: urlencode}.get(media_type, str)(value).encode()
            answer = hook.deliver(body, content_type=media_type)
            assert (answer.status_code, answer.json["new"]) == (201, 1), (vendor, media_type)
            assert hook.deliver(body, content_type=media_type).status_code == 200


def test_whatever_is_changed_has_a_version(spec):
    schemas = spec["components"]["schemas"]
    for (method, path), operation in operations(spec).items():
        if method == "PATCH":
            taken = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            shown = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert "version" in schemas[taken]["properties"].keys() & schemas[shown]["properties"].keys(), path
            assert "409" in operation["responses"]
            if path == "/api/tenant":  # which cannot be deleted
                continue
            deletion = operations(spec)["DELETE", path]
            assert "version" in [parameter["name"] for parameter in deletion["parameters"]]
            assert "409" in deletion["responses"]
