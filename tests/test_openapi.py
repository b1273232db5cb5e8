import re

import pytest


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


def test_every_route_is_described(app, spec):
    routes = {
        (method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith("openapi.")
    }
    assert routes <= operations(spec).keys()
    assert all(operation["summary"] and operation["tags"] for operation in operations(spec).values())


def test_what_needs_a_token_says_so(spec):
    described = operations(spec)
    assert described["POST", "/api/refresh"]["security"] == [{"refresh_token": []}]
    assert described["GET", "/api/me"]["security"] == [{"access_token": []}]
    assert described["GET", "/api/phone-systems"]["security"] == [{"access_token": []}]
    assert described["POST", "/hooks/{subdomain}/{phone_system_id}/cdr"]["security"] == [{"webhook_credentials": []}]
    assert "security" not in described["POST", "/api/login"]


def test_errors_are_described_as_problems(spec):
    for operation in operations(spec).values():
        for status, response in operation["responses"].items():
            if status >= "400":
                assert response["content"].keys() == {"application/problem+json"}


def test_no_answer_has_a_secret_but_the_one_that_was_generated(spec):
    shown = set()
    for operation in operations(spec).values():
        for response in operation["responses"].values():
            for media in response.get("content", {}).values():
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                shown |= {(name, field) for field in spec["components"]["schemas"].get(name, {}).get("properties", {})}
    secrets = {"password", "webhook_password", "client_secret", "secret"}
    assert {entry for entry in shown if entry[1] in secrets} == {("PhoneSystemCreated", "webhook_password")}


def test_a_change_has_no_defaults_that_would_remove_something(spec):
    for name in ("PhoneSystemChanges", "PaymentAccountChanges", "ApiCredentialChanges"):
        schema = spec["components"]["schemas"][name]
        assert not any("default" in field for field in schema["properties"].values())
        assert "required" not in schema
