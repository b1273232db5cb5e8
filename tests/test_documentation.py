"""``/docs``: the description of the API as a page."""

import re
from html.parser import HTMLParser

import pytest

from tests.conftest import make_settings, running

BLOCKS = {"p", "h4", "figure", "dl"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in BLOCKS:
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]


@pytest.fixture
def page() -> Page:
    """As shown without a database."""
    with running(make_settings("sqlite:////nowhere/there.db")) as app:
        answer = app.test_client().get("/docs")
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        return Page(answer.text)


def test_every_operation_is_on_the_page(page, documented):
    for path, method, _ in documented:
        assert f"{method.upper()} {path}" in page.text
    articles = [attributes["id"] for tag, attributes in page.elements if tag == "article"]
    assert len(articles) == len({(path, method) for path, method, _ in documented})


def test_each_operation_says_who_may_use_it_and_what_it_costs(page):
    said = {
        operation: re.search(rf"^{operation}$.*?((?:Needs|For) .*?)$", page.text, re.MULTILINE | re.DOTALL)[1]
        for operation in ("GET /", "GET /api/calls", "POST /api/api-keys", "POST /api/refresh", "DELETE /api/sessions")
    }
    assert said == {
        "GET /": "For everybody.",
        "GET /api/calls": "Needs an access token or an API key. Costs 20 units.",
        "POST /api/api-keys": "Needs an access token. Costs 100 units.",
        "POST /api/refresh": "Needs a refresh token.",
        "DELETE /api/sessions": "Needs an access token.",
    }


def test_every_link_leads_somewhere(page):
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    inside = {link.removeprefix("#") for link in page.all("href") if link.startswith("#")}
    assert inside <= set(ids)
    others = {link.partition("?")[0] for link in page.all("href")} - {f"#{name}" for name in inside}
    assert others == {"/openapi.json", "/docs/static/documentation.css"}


def test_the_page_needs_nothing_but_its_own_stylesheet(page, client):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "style", "img", "iframe", "form", "object", "base"}
    assert not any(name in ("style", "src") or name.startswith("on") for _, found in page.elements for name in found)
    with client.get("/docs/static/documentation.css") as style:
        assert (style.status_code, style.mimetype) == (200, "text/css")
        assert not re.search(r"url\(|@import|@font-face", style.text)


def test_the_browser_is_allowed_nothing_else(client):
    policy = client.get("/docs").headers["Content-Security-Policy"]
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "style-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_no_other_file_is_served(client):
    for path in ("/docs/static/", "/docs/static/../api.py", "/docs/static/%2e%2e/page.py", "/docs/static//etc/passwd"):
        assert client.get(path, follow_redirects=True).status_code == 404


def test_the_start_page_links_to_it(client):
    assert client.get("/").json["links"]["documentation"] == "/docs"
