"""How a PBX is told to deliver: what to enter where, as plain data for whoever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

PASSWORD_HERE: Final = "YOUR-WEBHOOK-PASSWORD"  # stands where the password belongs, which is known only when it is made


class Entry(NamedTuple):
    """A field of the PBX's own screen, and what belongs into it. is_chosen: from a list there, and not typed."""

    field: str
    value: str
    is_chosen: bool = False


class Step(NamedTuple):
    """One thing to do. text: what. entries: what to enter there; code: what to paste, exactly as it is."""

    text: str
    entries: Sequence[Entry] = ()
    code: str = ""


class SetUp(NamedTuple):
    """All there is to do, in its order. hint: what to look at if no record comes."""

    steps: Sequence[Step]
    hint: str


def host_and_path(url: str) -> str:
    """``url`` without its scheme and port, for screens that ask for those separately."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def port_of(url: str) -> str:
    """The port that ``url`` leads to."""
    parts = urlsplit(url)
    return str(parts.port or (443 if parts.scheme == "https" else 80))
