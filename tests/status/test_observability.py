"""docs/observability.md: it has every metric with its labels, every line of the log, and every field of one."""

import ast
import io
import json
import logging
import re
from pathlib import Path

import pytest

from app.logs import log_to_standard_error
from tests.calls.conftest import make_hook

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/observability.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    found = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("|")]
    assert found, heading
    return [[cell.strip() for cell in row] for row in found[2:]]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_metric_is_described_with_its_labels_and_no_other(everything):
    described = {}
    for names, labels, _ in rows("Metrics"):
        for name in re.findall(r"`([a-z_]+)`", names):
            described[name] = set(re.findall(r"`([a-z_]+)`", labels))
    shown = {}
    for name, labels in everything.labels().items():
        histogram = re.sub(r"_(?:bucket|sum|count)$", "", name)
        base = histogram if f"{histogram}_bucket" in everything.labels() else name
        shown.setdefault(base, set()).update(labels - {"le"})
    assert described == shown


def events() -> set[tuple[str, str, str]]:
    """Logger, level and text of everything that the code logs; of what differs, an ellipsis."""
    found = set()
    for path in sorted((ROOT / "app").rglob("*.py")):
        tree = ast.parse(path.read_text())
        logger = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "id", "") == "getLogger" or getattr(node.func, "attr", "") == "getLogger":
                named = node.args[0]
                logger = named.value if isinstance(named, ast.Constant) else logger
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            method = (
                getattr(node.func, "attr", "") if getattr(getattr(node.func, "value", None), "id", "") == "log" else ""
            )
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if method in LEVELS:
                level = "error" if method == "exception" else method
                if text is None or text.startswith("%s"):
                    continue
                found.add((logger, level, re.sub(r"%[sd]", "…", text)))
            elif getattr(node.func, "id", "") == "_log_without_parameters":
                found.add((logger, "error", f"{text}: … …, request …"))
    return found


def test_every_event_of_the_log_is_described_and_no_other():
    described = {(logger.strip("`"), level, event.strip("`")) for logger, level, event, _ in rows("Events of the log")}
    assert described == events() | {("app.audit", "info", "NOUN.VERB")}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_field_of_a_line_is_described_and_no_other(app, alice, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logger = logging.getLogger("app")
    before = logger.level, logger.handlers
    log_to_standard_error()
    try:
        hook = make_hook(app, alice)
        hook.deliver()
        alice.client.post("/api/phone-systems", json={"name": "PBX", "vendor": "asterisk"})
        app.test_client().get("/api/me", headers={"Authorization": "Bearer x"})
        with app.test_request_context("/"):
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                logging.getLogger("app.errors").exception("unhandled error, request %s", "1")
    finally:
        logger.level, logger.handlers = before
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    fields = {field for line in lines for field in line}
    fields |= {f"audit.{field}" for line in lines for field in line.get("audit", {})}
    assert {name.strip("`") for name, *_ in rows("Fields of a line")} == fields
