"""Pages of other origins: who may configure which, and what they get."""

import shutil
from dataclasses import replace

import pytest

from tests.conftest import PASSWORD, Person, running, signed_in
from tests.test_config import load, only_problem

APP, LOCAL = "https://app.acme.example", "http://localhost:5173"
LOOKALIKES = str.split("""
    https://app.acme.example.evil.example  https://evil.example/app.acme.example  https://evilapp.acme.example
    https://app-acme.example  https://appXacme.example  https://acme.example  https://evil.app.acme.example
    http://app.acme.example  https://app.acme.example:443  https://app.acme.example:8443  https://app.acme.example/
    HTTPS://app.acme.example  https://APP.acme.example  https://app.acme.example.  http://localhost  null  *
    http://localhost:51730  http://localhost:5174  https://app.acme.example,https://evil.example
""")
ORIGINS = str.split("""
    https://app.acme.example  https://acme.example:8443  https://xn--bcher-kva.example  https://[2001:db8::1]
    http://localhost:3000  http://127.0.0.1:5173  http://[::1]:5173  https://192.0.2.1
""")
NO_ORIGINS = str.split("""
    *  null  https://*  https://*.acme.example  acme.example  https://acme.example/  https://  https  file://
    https://acme.example/app  https://acme.example?x  https://u@acme.example  HTTPS://acme.example
    https://Acme.example  https://acme.example:443  https://acme.example:0  https://acme.example:65536
    http://acme.example  http://127.0.0.1.acme.example  http://localhost.acme.example  http://localhost:80
    https://acme_.example  https://acme..example  https://-acme.example  https://bücher.example  https://127.1
    https://[::0001]  https://[::1  ftp://acme.example  https://a.example,*  https://a.example;https://b.example
""")


def allowed(answer):
    """What an answer says about other origins."""
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


@pytest.fixture
def database_url(migrated_sqlite, tmp_path):
    """Which database it is does not matter here."""
    shutil.copy(migrated_sqlite, tmp_path / "audiapro.db")
    return f"sqlite:///{tmp_path / 'audiapro.db'}"


@pytest.fixture
def acme(app, settings, alice):
    """A service that two origins may use, and Alice there."""
    with running(replace(settings, cors_origins=(APP, LOCAL))) as open_to_origins:
        open_to_origins.extensions["encryption"].checked = True
        yield Person(alice.email, *alice.subject, signed_in(open_to_origins, alice.subject))


def preflight(client, origin, path="/api/me", method="GET", headers="authorization,content-type"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    client.environ_base.pop("HTTP_AUTHORIZATION", None)
    return client.options(path, headers=asked)


def test_nobody_may_read_answers_unless_it_is_configured(alice):
    answers = [alice.client.get("/api/me", headers={"Origin": APP}), preflight(alice.client, APP)]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert [allowed(answer) for answer in answers] == [{}, {}]


@pytest.mark.parametrize("origin", [APP, LOCAL])
def test_a_listed_origin_may_read_every_answer_also_errors(acme, origin):
    answers = [
        acme.client.get("/api/me", headers={"Origin": origin}),
        acme.client.get("/api/nowhere", headers={"Origin": origin}),
        acme.client.get("/api/me", headers={"Origin": origin, "Authorization": "Bearer x"}),
        acme.client.post("/api/login", json={"email": "x"}, headers={"Origin": origin}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 401, 422]
    for answer in answers:
        assert allowed(answer) == {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Location, Retry-After, WWW-Authenticate",
        }
        assert answer.headers.getlist("Vary") == ["Origin"]


def test_a_listed_origin_may_sign_in_and_create(acme):
    signed_in = acme.client.post(
        "/api/login", json={"email": acme.email, "password": PASSWORD}, headers={"Origin": APP}
    )
    body = {"name": "HQ", "vendor": "asterisk"}
    created = acme.client.post("/api/phone-systems", json=body, headers={"Origin": APP})
    assert [signed_in.status_code, created.status_code] == [200, 201]
    assert allowed(created)["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize("path", ["/api/me", "/api/login", "/api/nowhere"])
def test_a_preflight_is_answered_without_authentication(acme, path):
    answer = preflight(acme.client, APP, path)
    assert answer.status_code == 200
    assert allowed(answer) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Methods": "DELETE, GET, PATCH, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Expose-Headers": "Location, Retry-After, WWW-Authenticate",
        "Access-Control-Max-Age": "600",
    }
    assert answer.headers["Vary"] == "Origin"
    assert answer.data == b""


def test_no_other_header_or_method_is_allowed(acme):
    answer = preflight(acme.client, APP, headers="x-forwarded-for,authorization,cookie")
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
    assert "PUT" not in answer.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Methods" not in preflight(acme.client, APP, method="PUT").headers


def test_what_only_looks_like_a_listed_origin_is_not(acme):
    for origin in LOOKALIKES:
        answers = [acme.client.get("/api/me", headers={"Origin": origin}), preflight(acme.client, origin)]
        assert [allowed(answer) for answer in answers] == [{}, {}], origin
        assert {answer.headers["Vary"] for answer in answers} == {"Origin"}, "no cache gives this to a listed one"


def test_only_the_api_is_for_other_origins(acme):
    for path in ("/", "/healthz", "/openapi.json", "/hooks/acme/x/cdr", "/apis"):
        assert allowed(acme.client.get(path, headers={"Origin": APP})) == {}
        assert allowed(preflight(acme.client, APP, path)) == {}


def test_options_that_are_no_preflight_are_authenticated(acme):
    assert acme.client.options("/api/me", headers={"Origin": APP, "Authorization": ""}).status_code == 401


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_is_configured_as_browsers_send_it(origin):
    assert load(CORS_ORIGINS=origin).cors_origins == (origin,)


@pytest.mark.parametrize("origin", NO_ORIGINS)
def test_what_is_no_origin_or_is_everybodys_is_refused(origin):
    assert only_problem(CORS_ORIGINS=origin).startswith("CORS_ORIGINS must be origins as browsers send them")


def test_development_may_use_origins_without_tls():
    assert load(APP_ENV="development", CORS_ORIGINS="http://app.test:3000").cors_origins == ("http://app.test:3000",)
