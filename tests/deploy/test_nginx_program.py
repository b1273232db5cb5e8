"""Where nginx comes from."""

import os
from pathlib import Path

import pytest

from tests.servers import proxies
from tests.servers.proxies import nginx_program, provide_nginx


def test_where_there_is_one_nothing_is_fetched() -> None:
    assert os.access(nginx_program(), os.X_OK)
    said: list[str] = []
    provide_nginx(said.append)
    assert said == []


def test_a_machine_without_one_gets_a_sentence_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(proxies, "PLACES", (tmp_path / "nginx",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt install nginx"):
        nginx_program()
