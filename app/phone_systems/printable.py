"""What was delivered, as text that can be shown anywhere: every character in it can be seen, and none does anything."""

from __future__ import annotations

import codecs
import re
from typing import Final

_INVALID: Final = "audiapro.invalid"  # the name of the error handler below
_DELETE: Final = 0x7F
_PICTURES: Final = 0x2400  # Unicode's pictures of control characters: ␀ for NUL, ␍ for a carriage return
_PICTURE_OF_DELETE: Final = "\u2421"
_LEFT_ALONE: Final = frozenset("\n\t")
_NOT_ASCII_TEXT: Final = re.compile(r"[^\n\t\x20-\x7e]")


def printable(text: str) -> str:
    """The text, with a picture in place of each control character but line feeds and tabs, and ``<U+202E>``, say, in
    place of whatever else is not to be seen: what turns the direction of writing, blanks that are none, halves of
    surrogate pairs."""
    return _NOT_ASCII_TEXT.sub(lambda found: _shown(found[0]), text)


def printable_beginning(body: bytes, most: int) -> tuple[str, bool]:
    """The first ``most`` bytes as printable text, and whether there are more. ``<0xFF>`` stands for a byte that is no
    UTF-8; a character that is cut in two is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")(_INVALID)
    is_cut = len(body) > most
    pieces = decoder.decode(body[:most], final=not is_cut)
    return printable(pieces), is_cut


def _shown(character: str) -> str:
    if character.isprintable() or character in _LEFT_ALONE:
        return character
    code = ord(character)
    if code == _DELETE:
        return _PICTURE_OF_DELETE
    return chr(_PICTURES + code) if code < 0x20 else f"<U+{code:04X}>"


def _show_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_INVALID, _show_bytes)
