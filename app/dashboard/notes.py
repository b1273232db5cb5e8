"""What is told on the page that comes next: that something was done, say. It is kept in the cookie meanwhile.

A note belongs to the session that it was made in, and no other sees it: neither whoever signs in next with the same
browser, nor whoever finds it where a session has ended. One that was made while nobody was signed in is for whoever
looks at the next page.
"""

from __future__ import annotations

import json
from typing import Final

from flask import g, session

from app.dashboard import cookie

# Bytes, as the cookie has them: a browser silently drops one of more than 4 kB, and its user would be signed out.
LONGEST: Final = 800
MOST: Final = 2_000
_BEGIN, _END = 20, 100  # characters: there a sentence says what was done; the name in between may be long
_NOTES: Final = "notes"


def keep(kind: str, text: str) -> None:
    """For the next page. kind: one of Bootstrap's alerts. The middle of a long text is left out, and of many notes the
    first."""
    notes = [*session.get(_NOTES, []), [cookie.session_id(), kind, _shortened(text)]]
    while _size(notes) > MOST:
        del notes[0]
    session[_NOTES] = notes


def take() -> list[tuple[str, str]]:
    """Kind and text of those for this page, which has them alone."""
    if _NOTES not in session:
        return []
    here = str(g.caller.session.id) if "caller" in g else ""
    notes = session.pop(_NOTES)
    if not here and (others := [note for note in notes if note[0]]):
        session[_NOTES] = others  # of whoever is signed in, and looks at a page of everybody
    return [(kind, text) for whose, kind, text in notes if whose == here]


def _shortened(text: str) -> str:
    begin, end = text[:-_END], text[-_END:]
    shortened = text
    while _size(shortened) > LONGEST:
        begin, end = (begin[:-1], end) if len(begin) > _BEGIN else (begin, end[1:])
        shortened = f"{begin}…{end}"
    return shortened


def _size(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":")))
