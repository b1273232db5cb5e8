"""What goes wrong in a browser without a word to the person in front of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request, Response, WebError

PATIENCE: Final = 15_000  # milliseconds, for whatever a test waits for
# The browser tells of a violation in words that differ from one directive and version to the next; these do not.
TELL_OF_VIOLATIONS: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`violation of the policy: ${event.violatedDirective} forbids ${event.blockedURI}`);
});
"""


class Watch:
    """Everything on the console of a browser context's pages, errors of scripts, violations of the content security
    policy, requests that failed, requests to anything but the server, and answers that are errors of the server.

    That a page was refused (4xx) is none of it, for a test sees the page; for anything that a page loads it is.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        """url: of the server, the one origin that may be asked for anything."""
        self.context = context
        self._origin = url
        self._refused_pages: set[str] = set()
        self._found: list[str] = []
        context.add_init_script(TELL_OF_VIOLATIONS)
        context.on("console", self._hear)
        context.on("weberror", self._catch)
        context.on("request", self._see_request)
        context.on("requestfailed", self._see_failure)
        context.on("response", self._see_answer)

    def take(self) -> list[str]:
        """What was found since the last time, a sentence each. For a test that is about trouble: forgets it."""
        found, self._found = self._found, []
        return found

    def _hear(self, message: ConsoleMessage) -> None:
        url, text = message.location["url"], message.text
        # The browser's own remarks about the answer to a navigation, and about what it did as it was told.
        is_refusal = url in self._refused_pages and text.startswith("Failed to load resource: the server responded")
        if not (is_refusal or (message.type == "info" and text.startswith("Clear-Site-Data header"))):
            self._found.append(f"console, {message.type}: {message.text} ({url})")

    def _catch(self, error: WebError) -> None:
        self._found.append(f"uncaught error: {error.error.message}")

    def _see_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and f"{parts.scheme}://{parts.netloc}" != self._origin:
            self._found.append(f"request to elsewhere: {request.method} {request.url}")

    def _see_failure(self, request: Request) -> None:
        # Aborted by the browser itself: a download is no page, and who leaves a page does not wait for it.
        if request.failure != "net::ERR_ABORTED":
            self._found.append(f"request failed: {request.method} {request.url}: {request.failure}")

    def _see_answer(self, answer: Response) -> None:
        if answer.status >= 500:
            self._found.append(f"error of the server: {answer.status} for {answer.request.method} {answer.url}")
        elif answer.status >= 400 and answer.request.is_navigation_request():
            self._refused_pages.add(answer.url)


@contextmanager
def watching(browser: Browser, url: str) -> Iterator[Watch]:
    """A visitor of the server at ``url`` who was never there before. What was found and not taken fails the test."""
    # The same everywhere, whatever the machine speaks.
    context = browser.new_context(base_url=url, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(PATIENCE)
    watch = Watch(context, url)
    try:
        yield watch
    finally:
        context.close()
    found = watch.take()
    assert not found, "\n".join(found)
