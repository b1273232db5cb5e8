"""Whether a test of the dashboard would fail where it should."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.looks import check_axe, in_every_look
from tests.browser.served import Served
from tests.browser.watch import Watch, watching
from tests.servers import free_port

PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


@pytest.fixture
def server(tmp_path: Path) -> Served:
    """Nobody listens there: every answer is made up here."""
    return Served(free_port(), tmp_path / "log")


def show(page: Page, body: str, policy: str = "default-src * data: 'unsafe-inline'") -> None:
    """A page with this body; there is no other."""

    def answer(route: Route) -> None:
        if route.request.url.endswith("/page"):
            route.fulfill(
                body=f"<!doctype html><html lang=en><title>Test</title><link rel=icon href='{PICTURE}'>{body}",
                headers={"Content-Type": "text/html", "Content-Security-Policy": policy},
            )
        else:
            route.fulfill(status=404, body="There is no such page.")

    page.route("/**", answer)
    page.goto("/page")


def appears(expected: str, page: Page, watch: Watch) -> bool:
    """Whether something like ``expected`` is found, also if that takes the browser a moment; and takes everything."""
    found = ""
    for _ in range(100):
        found += "\n".join(watch.take())
        if re.search(expected, found):
            page.close()  # and nothing comes after it
            watch.take()
            return True
        page.wait_for_timeout(50)
    return False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<script>console.log('canary')</script>", "console, log: canary"),
        ("<script>console.warn('canary')</script>", "console, warning: canary"),
        ("<script>setTimeout(() => { throw new Error('canary') })</script>", "uncaught error: canary"),
        ("<script>Promise.reject(new Error('canary'))</script>", "uncaught error: canary"),
        ("<img src='/canary.png' alt=''>", "console, error: Failed to load resource.*404"),
        ("<img src='http://127.0.0.1:1/canary' alt=''>", "request to elsewhere: GET http://127.0.0.1:1/canary"),
        ("<img src='https://audiapro.example/canary' alt=''>", "request failed: GET .*ERR_NAME_NOT_RESOLVED"),
        ("<script>new WebSocket('ws://127.0.0.1:1/canary')</script>", "console, error: WebSocket connection"),
    ],
)
def test_trouble_is_found(page: Page, watch: Watch, body: str, expected: str) -> None:
    show(page, body)
    assert appears(expected, page, watch)


@pytest.mark.parametrize(
    ("body", "directive"),
    [
        ("<script>document.title = 'canary'</script>", "script-src-elem"),
        ("<button onclick='canary()'>Do</button>", "script-src-attr"),
        ("<p style='color: red'>", "style-src-attr"),
        ("<style>p { color: red }</style>", "style-src-elem"),
        ("<img src='/picture' alt=''>", "img-src"),
        ("<form action='/form'><button>Send</button></form>", "form-action"),
    ],
)
def test_a_violation_of_the_policy_is_found(page: Page, watch: Watch, body: str, directive: str) -> None:
    show(page, body, "default-src 'none'; img-src data:; form-action 'none'")
    page.evaluate("document.querySelector('button')?.click()")
    assert appears(f"console, error: violation of the policy: {directive} forbids", page, watch)


def test_a_page_that_is_refused_is_for_the_test_to_judge(page: Page, watch: Watch) -> None:
    show(page, "")
    answer = page.goto("/nothing-here")
    assert answer.status == 404
    assert watch.take() == []


def test_an_error_of_the_server_is_found(page: Page, watch: Watch) -> None:
    page.route("/broken", lambda route: route.fulfill(status=500, body="broken"))
    page.goto("/broken")
    assert appears("error of the server: 500 for GET http://127.0.0.1:.*/broken", page, watch)


def test_what_was_found_fails_the_test(browser: Browser, server: Served) -> None:
    with pytest.raises(AssertionError, match="console, log: canary"), watching(browser, server.url) as watch:
        show(watch.context.new_page(), "<script>console.log('canary')</script>")


def test_leaving_a_page_that_still_waits_for_something_is_no_trouble(page: Page) -> None:
    show(page, "")
    page.route("/never", lambda route: None)
    with page.expect_request("/never"):
        page.evaluate("fetch('/never'); null")
    page.goto("about:blank")


def test_axe_names_the_rule_the_element_and_the_remedy(page: Page) -> None:
    show(page, "<main><h1>Title</h1><form><input id=nameless></form></main>")
    with pytest.raises(
        AssertionError, match=r"critical: label: Form elements must have labels\n  #nameless\n    Fix any"
    ):
        check_axe(page)


def test_a_page_is_shown_in_four_looks(page: Page) -> None:
    show(page, "<main><h1>Title</h1></main>")
    ask = "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"
    assert [(look, page.evaluate(ask)) for look in in_every_look(page)] == [
        ("phone-light", [390, False]),
        ("phone-dark", [390, True]),
        ("desk-light", [1280, False]),
        ("desk-dark", [1280, True]),
    ]
