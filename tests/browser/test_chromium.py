"""Where the browser comes from."""

import os

import pytest

from tests.servers import browser as browser_module
from tests.servers.browser import chromium_program, provide_chromium


def test_where_there_is_one_nothing_is_installed() -> None:
    assert os.access(chromium_program(), os.X_OK)
    said: list[str] = []
    provide_chromium(said.append)
    assert said == []


def test_a_machine_without_one_gets_a_sentence_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "_from_system", lambda: None)
    monkeypatch.setattr(browser_module, "_from_playwright", lambda: None)
    with pytest.raises(RuntimeError, match="apt install chromium"):
        chromium_program()
