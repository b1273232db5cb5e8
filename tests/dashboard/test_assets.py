"""Stylesheets and scripts: all from here, compressed, and kept by browsers for good."""

import re
from dataclasses import replace

import pytest

from tests.conftest import running
from tests.dashboard.conftest import signed_in_visitor

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def assets_of(page):
    return re.findall(r'(?:href|src)="(/(?:static|bootstrap/static)/[^"]+)"', page.response.text)


def test_an_asset_is_kept_for_good_under_the_address_of_its_content(visitor):
    found = assets_of(visitor.open("/sign-in"))
    assert len(found) == 4
    for address in found:
        with visitor.client.get(address, headers={"Accept-Encoding": "br"}) as answer:
            headers = answer.headers
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in headers


def test_an_asset_under_the_address_of_other_content_is_not_kept(visitor):
    stylesheet = next(address for address in assets_of(visitor.open("/sign-in")) if "dashboard.css" in address)
    for address in (stylesheet.partition("?")[0], f"{stylesheet}0"):
        with visitor.client.get(address) as answer:
            assert "immutable" not in answer.headers.get("Cache-Control", "")


def test_a_first_visit_loads_less_than_200_kilobytes(alice_visits):
    page = alice_visits.open("/overview")
    sizes = {"page": len(page.response.data)}
    for address in assets_of(page):
        with alice_visits.client.get(address, headers={"Accept-Encoding": "gzip"}) as answer:
            sizes[address] = len(answer.data)
            if len(answer.data) > 1000:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert "Accept-Encoding" in answer.headers["Vary"]
    assert sum(sizes.values()) < 200_000, sizes


def test_pages_and_answers_of_the_api_are_not_compressed(alice, alice_visits):
    """What people typed stands there beside what they must not know: the length would tell."""
    for client, path in ((alice_visits.client, "/overview"), (alice.client, "/api/me"), (alice.client, "/docs")):
        assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "br, gzip"}).headers


def test_in_production_the_cookie_is_for_this_host_and_tls_alone(settings):
    with running(replace(settings, environment="production")) as app:
        app.extensions["encryption"].checked = True
        sent = app.test_client().get("/sign-in", base_url="https://localhost").headers["Set-Cookie"]
    assert sent.startswith("__Host-audiapro=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(sent.split("; "))
    assert "Domain" not in sent


def test_a_cookie_outlives_a_rotation_of_the_secret_that_signed_it(app, settings, alice):
    visitor = signed_in_visitor(app, alice)
    cookie = visitor.client.get_cookie("audiapro").value
    for fallbacks, title in (((settings.jwt_secret_key,), "Overview"), ((), "Sign in")):
        rotated = replace(
            settings, jwt_secret_key="another-secret-of-enough-characters!!", jwt_secret_key_fallbacks=fallbacks
        )
        with running(rotated) as later:
            later.extensions["encryption"].checked = True
            client = later.test_client()
            client.set_cookie("audiapro", cookie)
            answer = client.get("/overview", follow_redirects=True)
            assert f"<h1>{title}</h1>" in answer.text
