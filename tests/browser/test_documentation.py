"""``/docs`` as people see it."""

from playwright.sync_api import Page

from tests.browser.looks import check_axe, in_every_look, screenshot

# The other operations are made of the same parts, and all of them take axe many seconds, in each look.
ONLY_THE_FIRST_OPERATION_UNFOLDED = """
document.querySelectorAll("section ~ section, article ~ article").forEach((one) => one.remove());
document.querySelectorAll("details").forEach((one) => { one.open = true; });
"""


def test_the_documentation_can_be_read_by_everybody(page: Page) -> None:
    page.goto("/docs")
    page.evaluate(ONLY_THE_FIRST_OPERATION_UNFOLDED)
    for look in in_every_look(page):
        check_axe(page)
        screenshot(page, f"documentation-{look}")
