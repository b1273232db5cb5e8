"""What an examination says: one line for each thing that was looked at."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """A warning is for the operator to decide about; a failure has to be mended."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(NamedTuple):
    """subject: what was looked at, in a word or three. text: what was found and, unless that is fine, what to do; ids
    of keys and names of variables, never a value."""

    subject: str
    state: State
    text: str


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, State.OK, text)


def warning(subject: str, text: str) -> Finding:
    return Finding(subject, State.WARNING, text)


def failure(subject: str, text: str) -> Finding:
    return Finding(subject, State.FAILURE, text)
