"""docs/troubleshooting.md is what an operator searches for a message: it must have each of them, as it is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
FOLDERS = ["adoption", "audit", "backups", "identity", "limits", "secret_sources", "tenants"]
# Where messages come from: the calls and statements whose first literal is what the operator reads.
SOURCES = [
    "app/config.py",
    "app/variables.py",
    "app/key_checks.py",
    "app/cli/backup.py",
    "app/cli/encryption.py",
    "app/cli/rotation.py",
]
SOURCES += ["app/encryption/registry.py", "app/encryption/rotation.py", "app/encryption/sealed.py"]
SOURCES += ["app/errors.py", "app/startup.py", "app/web.py"]
SOURCES += ["app/mail_checks.py", "app/mail/resend.py", "app/mail/service.py"]
SOURCES += ["app/cli/adoption.py", "app/encryption/adoption.py", "app/origins.py"]
SOURCES += ["app/cli/incident.py", "app/incident/standing.py"]
SOURCES += ["app/proxies.py", "app/connections.py", "app/url_checks.py", "app/outbound/addresses.py"]
SOURCES += ["app/metrics/shared.py", "app/status/figures.py", "app/status/values.py"]
SOURCES += [str(path.relative_to(ROOT)) for name in FOLDERS for path in sorted((ROOT / "app" / name).glob("*.py"))]
RAISING = {
    "Conflict",
    "Damaged",
    "Forbidden",
    "KeyNotChanged",
    "NotAdoptable",
    "NotBlanked",
    "NotSent",
    "Refused",
    "SourceFailed",
    "RotationRefused",
    "Unavailable",
    "fail",
    "append",
    "_end",
    "error",
    "warning",
    "_log_without_parameters",
}


def literal_parts(node: ast.expr) -> list[str]:
    """The pieces of a text between its placeholders."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [part.value for part in node.values if isinstance(part, ast.Constant)]
    return []


def messages() -> list[tuple[str, str]]:
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse((ROOT / source).read_text())):
            values: list[ast.expr | None] = []
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                values = [node.args[0]] if name in RAISING and node.args else []
            elif isinstance(node, ast.Yield | ast.Return) or (
                isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason"
            ):
                values = [node.value]
            for value in values:
                parts = literal_parts(value) if value is not None else []
                sentence = max(parts, key=len, default="").strip()
                if sentence.count(" ") >= 2:
                    found.append((source, sentence))
    return sorted(set(found))


def plain(text: str) -> str:
    return re.sub(r"[`\s]+", " ", text.replace("%s", "…"))


@pytest.mark.parametrize(("source", "message"), messages())
def test_every_message_is_explained(source: str, message: str) -> None:
    first_sentence = re.split(r"(?<=[.?:]) ", plain(message).strip(": "))[0].strip(" .:(;")
    assert first_sentence in plain(PAGE)


def test_the_messages_are_found_at_all() -> None:
    assert len(messages()) > 25
