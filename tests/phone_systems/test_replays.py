"""docs/phone-systems.md: its deliveries, run as they are printed."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from werkzeug.serving import make_server

from app.phone_systems.vendors import VENDORS
from tests.calls.conftest import make_hook
from tests.data import captured_body

PAGE = (Path(__file__).parent.parent.parent / "docs/phone-systems.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def url(app) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def replay(block: str, **variables: str) -> tuple[int, dict]:
    done = subprocess.run(
        ["bash", "-ec", 'curl() { command curl -w "\\n%{http_code}" "$@"; }\n' + block],
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_delivery_works_as_printed_and_again(app, alice, url):
    for vendor, module in VENDORS.items():
        blocks = BLOCK.findall(SECTIONS[module.LABEL])
        assert blocks, vendor
        hook = make_hook(app, alice, vendor=vendor)
        for block in blocks:
            for status, new in ((201, 1), (200, 0)):
                got, answer = replay(block, HOOK=url + hook.path, WEBHOOK_PASSWORD=hook.password)
                assert (got, answer["new"]) == (status, new), (vendor, answer)


def test_the_page_prints_what_a_real_asterisk_posted():
    block = BLOCK.findall(SECTIONS["Asterisk / FreePBX"])[0]
    printed = "&".join(re.findall(r"-d '(.*)'", block))
    assert parse_qsl(printed, True) == parse_qsl(captured_body("asterisk/answered.http").decode(), True)


def test_every_kind_is_in_the_pages_table():
    rows = re.findall(r"^\| \[(.+?)\]\(.+?\) \| `(.+?)` \|", PAGE, re.MULTILINE)
    assert rows == [(module.LABEL, vendor) for vendor, module in VENDORS.items()]
