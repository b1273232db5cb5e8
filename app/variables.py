"""Reading variables: from the process, a ``.env`` file, files of their own, and the stores that references lead to.

:mod:`app.config` says which variables there are, and judges what is read here.
"""

from __future__ import annotations

import io
import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dotenv import dotenv_values

from app.key_checks import remedy
from app.secret_sources import PATIENCE, Failure, Patience, Refused, Unavailable, fetch_all
from app.secret_sources.reference import FORMS, Reference, VaultSecret, looks_like_reference


class Variable(NamedTuple):
    """One variable: its name, what it means in a sentence, and the default as one would write it down."""

    name: str
    meaning: str
    default: str | None = None
    secret: bool = False
    required: bool = False

    @property
    def file_name(self) -> str:
        """The variable that may name a file with the value instead. Only secrets have it."""
        return f"{self.name}_FILE"

    @property
    def is_list(self) -> bool:
        """Whether it holds any number of secrets, separated by commas."""
        return self.name.endswith("_FALLBACKS")


class Findings(NamedTuple):
    """What reading and checking add to. They go on after a problem, so that all are found in one go.

    outages: problems that may pass by themselves, unlike ``problems``. warnings: for the operator to read.
    """

    problems: list[str]
    outages: list[str]
    warnings: list[str]


class Read(NamedTuple):
    """What was read, by name of the variable.

    values: as set, from its file or a store, by default, or an empty string.
    origins: of each secret that is set, in words, the kinds of places that it came from.
    """

    values: dict[str, str]
    origins: dict[str, str]


# Read where a reference leads to Vault: like the other variables of the stores' clients, it is none of ours.
_VAULT_TOKEN: Final = Variable("VAULT_TOKEN", "What Vault lets us in with.", secret=True)

Content = str | Reference | Refused  # a secret, where it is, or what is wrong with how that is written


def read(
    variables: Iterable[Variable],
    environ: Mapping[str, str],
    env_file: Path | None,
    patience: Patience,
    found: Findings,
) -> Read:
    """The value of every variable; ``environ`` wins over the file. What cannot be read is empty, and in ``found``."""
    in_file = _text_of(env_file, str(env_file), found) if env_file and os.path.lexists(env_file) else ""
    given = {name: value for name, value in dotenv_values(stream=io.StringIO(in_file or "")).items() if value}
    given |= {name: value for name, value in environ.items() if value.strip()}
    texts = {variable: _written(variable, given, found) for variable in variables}
    contents = {variable: _contents(variable, text) for variable, text in texts.items() if variable.secret and text}
    in_all = [content for of_one in contents.values() for content in of_one.values()]
    stored = _ask_stores(in_all, given, patience, found)
    for variable, of_one in contents.items():
        texts[variable] = _joined(variable, of_one, stored, found)
    values = {}
    for variable, value in texts.items():
        if value == "" and variable.required:
            found.problems.append(f"{variable.name} is not set. {remedy(variable.name)}")
        values[variable.name] = value or variable.default or ""
    origins = {variable.name: _origin(variable, of_one, given) for variable, of_one in contents.items() if of_one}
    return Read(values, origins)


def read_secrets(names: Iterable[str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Secrets that are not ours, such as the keys of another application: those that could be read, problems, and
    warnings. Each is in the variable of that name, in the file that its NAME_FILE names, or where they refer to."""
    variables, found = [Variable(name, "", secret=True) for name in names], Findings([], [], [])
    values = {name: value for name, value in read(variables, environ, None, PATIENCE, found).values.items() if value}
    missing = [
        f"{variable.name} is not set, nor {variable.file_name}: the mapping names it."
        for variable in variables
        if not (environ.get(variable.name, "").strip() or environ.get(variable.file_name, "").strip())
    ]
    return values, [*missing, *found.problems, *found.outages], found.warnings


def _written(variable: Variable, given: Mapping[str, str], found: Findings) -> str | None:
    """What stands in the variable, or in the file that NAME_FILE names; None if that cannot be read."""
    value = given.get(variable.name, "").strip()
    path = given.get(variable.file_name, "").strip() if variable.secret else ""
    if value and path:
        found.problems.append(f"{variable.name} and {variable.file_name} are both set. Keep one of them.")
    elif path:
        # The secret itself, pasted here by mistake, must not end up in the report: it does not begin like a path.
        shown = path if path.startswith(("/", ".")) else "what it names (not repeated, it may be the secret itself)"
        return _text_of(Path(path), f"{variable.file_name}: {shown}", found)
    return value


def _contents(variable: Variable, text: str) -> dict[str, Content]:
    """What a secret variable holds, by how a report names it: of a list, each of its items by itself."""
    if not variable.is_list:
        return {variable.name: _content(variable, text)}
    items = [item.strip() for item in text.split(",") if item.strip()]
    return {f"key {n} of {variable.name}": _content(variable, item) for n, item in enumerate(items, start=1)}


def _content(variable: Variable, text: str) -> Content:
    try:
        reference = Reference.parse(text)
    except Refused as error:
        return error
    if reference is None and looks_like_reference(text) and not variable.name.endswith("_URL"):
        return Refused(f"is no secret, but looks like the address of one. A reference begins with {', '.join(FORMS)}.")
    return reference or text


def _ask_stores(
    contents: Iterable[Content], given: Mapping[str, str], patience: Patience, found: Findings
) -> dict[Reference, str | Failure]:
    """What the stores keep for all references at once."""
    references = {content for content in contents if isinstance(content, Reference)}
    environment = dict(given)
    if any(isinstance(reference.location, VaultSecret) for reference in references):
        environment["VAULT_TOKEN"] = _written(_VAULT_TOKEN, given, found) or ""
    return fetch_all(references, environment, patience)


def _joined(
    variable: Variable, contents: Mapping[str, Content], stored: Mapping[Reference, str | Failure], found: Findings
) -> str | None:
    """The value of a secret variable, or None if any part of it cannot be had.

    A store's secret is taken as it is, and never for a reference in turn. An empty one is refused, because a default
    must not take its place; but a list of fallbacks may be empty.
    """
    values = []
    for label, content in contents.items():
        if isinstance(content, str):
            values.append(content)
        elif isinstance(content, Refused):
            found.problems.append(f"{label} {content}")
        elif isinstance(value := stored[content], Failure):
            outcome = found.outages if isinstance(value, Unavailable) else found.problems
            outcome.append(f"{label}: {content.shown} cannot be read: {value}")
        elif value == "" and not variable.is_list:
            found.problems.append(f"{label}: {content.shown} leads to an empty secret. Store one there.")
        else:
            values.append(value)
    return ",".join(values) if len(values) == len(contents) else None


def _origin(variable: Variable, contents: Mapping[str, Content], given: Mapping[str, str]) -> str:
    written = "file" if given.get(variable.file_name) else "literal"
    kinds = [content.location.kind if isinstance(content, Reference) else written for content in contents.values()]
    return " and ".join(dict.fromkeys(kinds))


def _text_of(path: Path, label: str, found: Findings) -> str | None:
    """The file's text without blanks around it, or None if it cannot be read. ``label`` names it in a report."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            is_mounted = bool(os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY)
            text = file.read().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        found.problems.append(f"{label} cannot be read ({reason}). Correct the path, or the file and its permissions.")
        return None
    # On what is mounted read-only, as containers are given their secrets, the mode is not ours: whoever mounted it has
    # decided who is let in, and `chmod` would fail.
    if stat.S_ISREG(mode) and mode & 0o077 and not is_mounted:
        close = f"chmod 600 {shlex.quote(str(path))}"
        found.warnings.append(f"{label} has mode {stat.S_IMODE(mode):04o}, open to other users. Close it: {close}")
    return text
