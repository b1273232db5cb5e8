"""Somebody at a browser, without one: opens pages, fills forms as they stand there, presses buttons.

Every page that is seen on the way has to be well made: see :func:`check`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient

BASE = "http://localhost"
OF_OUR_OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
UNLABELLED = {"hidden", "submit", "button"}


class Page:
    """What is seen at ``address``."""

    def __init__(self, response: Any, address: str) -> None:
        self.response, self.status, self.address = response, response.status_code, address
        self.soup = BeautifulSoup(response.text, "html.parser")

    @property
    def title(self) -> str:
        return self.soup.h1.get_text(" ", strip=True)

    @property
    def text(self) -> str:
        """What can be read in it, in one line."""
        return " ".join((self.soup.main or self.soup).get_text(" ").split())

    @property
    def messages(self) -> str:
        """What was done, or went wrong."""
        return " ".join(" ".join(alert.get_text(" ").split()) for alert in self.soup.select(".alert"))

    def all(self, selector: str) -> list[str]:
        return [" ".join(found.get_text(" ").split()) for found in self.soup.select(selector)]

    def errors(self) -> dict[str, str]:
        """What is said beside the fields, by their names."""
        found = {}
        for field in self.soup.select("[aria-invalid=true]"):
            for told in field["aria-describedby"].split():
                if told.endswith("-error"):
                    found[field.get("name") or field.find("input")["name"]] = self.soup.find(id=told).get_text(
                        strip=True
                    )
        return found

    def values(self, button: str | None = None) -> dict[str, Any]:
        """What stands in the form with that button."""
        return filled(self.form(button))

    def form(self, button: str | None = None) -> Tag:
        """The form with that button; without one the only form of the page's content."""
        forms = self.soup.main.find_all("form")
        if button is not None:
            forms = [form for form in self.soup.find_all("form") if button in buttons(form)]
        assert len(forms) == 1, f"{len(forms)} forms with {button}: {[buttons(form) for form in forms]}"
        return forms[0]


class Visitor:
    """Where a browser's user is, who may be signed in."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def open(self, address: str, status: int = 200) -> Page:
        """The page at ``address``, or where it leads."""
        response = self.client.get(address, headers={"Accept": "text/html", "Sec-Fetch-Site": "none"})
        return self._follow(response, address, status)

    def send(self, page: Page, button: str | None = None, status: int = 200, **fields: Any) -> Page:
        """What comes of pressing that button, after typing ``fields`` into its form."""
        form = page.form(button)
        values = filled(form)
        unknown = fields.keys() - {field.get("name") for field in form.find_all(["input", "select", "textarea"])}
        assert not unknown, f"no such fields: {unknown}"
        values |= fields
        values = {name: value for name, value in values.items() if value is not None}
        address = urljoin(page.address, form.get("action") or page.address)
        if form.get("method", "get").lower() == "get":
            response = self.client.get(address.partition("?")[0], query_string=values, headers={"Accept": "text/html"})
        else:
            response = self.client.post(address, data=values, headers=OF_OUR_OWN_PAGE)
        return self._follow(response, address, status)

    def _follow(self, response: Any, address: str, status: int) -> Page:
        for _ in range(5):
            if response.status_code not in (301, 302, 303, 307, 308):
                break
            where = response.headers["Location"]
            assert urlsplit(where).netloc in ("", "localhost"), where
            address = urljoin(address, where)
            response = self.client.get(address, headers=OF_OUR_OWN_PAGE)
        page = Page(response, address)
        assert page.status == status, (address, page.status, page.text[:500])
        check(page)
        return page


def check(page: Page) -> None:
    """A page that people, screen readers and strict browsers can use."""
    soup, where = page.soup, page.address
    assert soup.title.get_text().endswith(" · AudiaPro"), where
    assert len(soup.find_all("h1")) == 1, where
    assert page.title, where
    twice = [id for id, count in Counter(tag["id"] for tag in soup.find_all(id=True)).items() if count > 1]
    assert not twice, (where, twice)
    for form in soup.find_all("form"):
        if form.get("method", "get").lower() == "post":
            assert form.find("input", attrs={"name": lambda name: name and name.endswith("csrf_token")}), (where, form)
        assert urlsplit(form.get("action") or "").netloc == "", (where, form)
    for field in soup.find_all(["input", "select", "textarea"]):
        if field.get("type") not in UNLABELLED:
            labelled = soup.find("label", attrs={"for": field.get("id")}) or field.get("aria-label")
            assert labelled, (where, field)
    for field in soup.find_all("input", type="password"):
        assert not field.get("value"), (where, field)
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on") or name == "style"], (where, tag)
        for attribute in ("src", "href", "action"):
            target = urlsplit(tag.get(attribute) or "")
            assert target.scheme in ("", "mailto", "data", "otpauth"), (where, tag)
            assert not target.netloc, (where, tag)
        assert tag.name != "style", (where, tag)
        assert tag.name != "script" or tag.get("src") or tag.get("type") == "application/json", (where, tag)
    for image in soup.find_all("img"):
        assert image.get("alt") is not None, (where, image)
    for button in soup.find_all("button"):
        assert button.get_text(strip=True) or button.get("aria-label"), (where, button)
    headers = page.response.headers
    assert headers["Cache-Control"] == "no-store", where
    assert headers["Content-Security-Policy"].startswith("default-src 'none'"), where


def buttons(form: Tag) -> list[str]:
    """What stands on a form's buttons."""
    return [" ".join((found.get("aria-label") or found.get_text(" ")).split()) for found in form.find_all("button")]


def filled(form: Tag) -> dict[str, Any]:
    """What a browser would send of a form as it stands."""
    values: dict[str, Any] = {}
    for field in form.find_all("input"):
        kind = field.get("type", "text")
        if not field.get("name") or kind in ("submit", "button"):
            continue
        if kind in ("checkbox", "radio"):
            if field.has_attr("checked"):
                values[field["name"]] = field.get("value", "on")
        else:
            values[field["name"]] = field.get("value", "")
    for area in form.find_all("textarea"):
        values[area["name"]] = area.get_text().removeprefix("\r\n").removeprefix("\n")
    for choice in form.find_all("select"):
        options = choice.find_all("option")
        chosen = [option for option in options if option.has_attr("selected")] or options[:1]
        if chosen:
            values[choice["name"]] = chosen[0].get("value", chosen[0].get_text())
    return values
