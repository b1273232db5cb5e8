"""Passwords: Argon2id (RFC 9106) at the recommended cost. Any text of 8 to 1,024 characters will do."""

from __future__ import annotations

import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Invalid

SHORTEST: Final = 8
LONGEST: Final = 1024

_hasher = PasswordHasher()

# The hash of a password that nobody has, at the same cost as everybody's: what an unknown account is verified with.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$jyue6+/UDsfEPQc+XRc5jA$JQIbsJnITJxmfhhJcfFpdjZfTIyj7PpzbyI+dm/njrE"


def hash_password(password: str) -> str:
    """The hash to store, in PHC format. Raises :class:`~app.errors.Invalid` for one that is too short or long."""
    if not SHORTEST <= len(password) <= LONGEST:
        message = f"must have {SHORTEST} to {LONGEST:,} characters"
        raise Invalid("The password cannot be used.", [{"field": "password", "message": message}])
    try:
        return _hasher.hash(_canonical(password))
    except UnicodeEncodeError:  # half a surrogate pair, which a terminal in another encoding can give
        raise Invalid("The password is not Unicode text.") from None


def verify_password(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one. ``stored``: its hash, or None for an unknown account, which takes as long."""
    try:
        return _hasher.verify(stored or _NOBODY, _canonical(password)) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made at another cost than is recommended by now."""
    return _hasher.check_needs_rehash(stored)


def _canonical(password: str) -> str:
    """NFC (RFC 8265, section 4.2): what one keyboard composes and another does not is the same password."""
    return unicodedata.normalize("NFC", password)
