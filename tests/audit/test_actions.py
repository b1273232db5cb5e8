"""The list of actions has all that are recorded, and docs/audit.md explains each of them."""

import ast
import re
from pathlib import Path

from app.audit import actions

ROOT = Path(__file__).parent.parent.parent
ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
NOUNS = {action.partition(".")[0] for action in actions.WORDS}
# Their verbs come from elsewhere: f"{self.noun}.{verb}".
PUT_TOGETHER = {"invitation", "phone_system", "payment_account", "api_credential"}
RECORDING = {"record", "record_at_once", "record_for_each_tenant", "Kind", "_record", "_replace_password"}


def written(source: Path) -> set[str]:
    """The actions that stand in a file: what is handed on to be recorded, and whatever else begins with their nouns."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in RECORDING:
            found |= {text for argument in node.args for text in texts(argument)}
        found |= {text for text in texts(node) if text.partition(".")[0] in NOUNS}
    return {text for text in found if ACTION.fullmatch(text)}


def texts(node: ast.AST) -> set[str]:
    """What a literal says; of ``f"user.{'disabled' if disabled else 'enabled'}"`` both."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[0], ast.Constant):
        verbs = {part.value for part in ast.walk(node.values[1]) if isinstance(part, ast.Constant)}
        return {f"{node.values[0].value}{verb}" for verb in verbs}
    return set()


def documented() -> set[str]:
    """What docs/audit.md has in the first column, where ``.deleted`` follows on ``phone_system.created``."""
    table = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/audit.md").read_text(), re.MULTILINE)
    found, noun = set(), ""
    for name in re.findall(r"`([a-z_.]+)`", " ".join(table)):
        noun = name.partition(".")[0] or noun
        found.add(f"{noun}.{name.partition('.')[2]}")
    return found


def test_every_action_that_is_recorded_is_in_the_list_and_no_other():
    sources = set((ROOT / "app").rglob("*.py")) - {Path(actions.__file__)}
    found = {action for source in sources for action in written(source)}
    assert found - actions.WORDS.keys() == set()
    assert {action.partition(".")[0] for action in actions.WORDS.keys() - found} == PUT_TOGETHER


def test_the_documentation_lists_the_same_actions():
    assert documented() == set(actions.WORDS)
