"""Parts of pages that follow what happens, without anybody's hand."""

import pytest
from playwright.sync_api import expect

from tests.conftest import PASSWORD

LATER = 31_000  # milliseconds: longer than such a part waits before it asks


@pytest.fixture
def encryption(page, alice):
    """The page with such a part, under a clock that the test moves on."""
    page.clock.install()
    page.goto("/sign-in?next=/encryption")
    page.get_by_label("E-mail address").fill(alice.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Encryption")
    return page


def ask_again(page):
    with page.expect_response("**/encryption/now") as answer:
        page.clock.fast_forward(LATER)
    answer.value.finished()


def test_what_stays_the_same_is_left_alone_again_and_again(encryption):
    encryption.evaluate("document.querySelector('#encryption .tiles').seen = true")
    for _ in range(2):
        ask_again(encryption)
    assert encryption.evaluate("document.querySelector('#encryption .tiles').seen") is True


def test_what_is_replaced_keeps_the_focus(encryption):
    encryption.get_by_role("region", name="Keys that they are under").focus()
    encryption.evaluate("document.querySelector('#encryption .tiles').append('something old')")
    ask_again(encryption)
    expect(encryption.get_by_text("something old")).to_have_count(0)
    expect(encryption.get_by_role("region", name="Keys that they are under")).to_be_focused()


def test_it_stops_and_says_so_when_the_session_has_ended(encryption):
    encryption.context.clear_cookies()
    encryption.clock.fast_forward(LATER)
    expect(encryption.get_by_role("alert")).to_contain_text("You are signed out")
    asked = []
    encryption.on("request", lambda request: asked.append(request.url))
    encryption.clock.fast_forward(LATER)
    encryption.clock.fast_forward(LATER)
    expect(encryption.get_by_role("alert")).to_have_count(1)
    assert asked == []
