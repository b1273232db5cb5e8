"""Passwords: Argon2id (RFC 9106) at the recommended cost.

Any text of 8 to 1,024 characters will do, unless it is among the first that are tried: the common ones, and what
everybody knows of the account.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Invalid

SHORTEST: Final = 8
LONGEST: Final = 1024
SERVICE: Final = "audiapro"

_hasher = PasswordHasher()

# The hash of a password that nobody has, at the same cost as everybody's: what an unknown account is verified with.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$jyue6+/UDsfEPQc+XRc5jA$JQIbsJnITJxmfhhJcfFpdjZfTIyj7PpzbyI+dm/njrE"


def hash_password(password: str, *, email: str = "", subdomains: Iterable[str] = ()) -> str:
    """The hash to store of a password that somebody chose, in PHC format.

    email, subdomains: of the account and its tenants, where they are known. Raises :class:`~app.errors.Invalid` for one
    that is too short or long, or among the first that are tried.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise _unfit(f"must have {SHORTEST} to {LONGEST:,} characters")
    if password.casefold() in _common_passwords():
        raise _unfit("is one of the most common passwords, which are tried first: choose another one")
    if _is_known_of_the_account(password, (SERVICE, email, email.partition("@")[0], *subdomains)):
        raise _unfit("is the name of the service, the organisation or the account: choose something that is not known")
    return renew_hash(password)


def renew_hash(password: str) -> str:
    """The hash to store of a password that is in use, which is not judged any more."""
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


def _unfit(message: str) -> Invalid:
    return Invalid("The password cannot be used.", [{"field": "password", "message": message}])


def _is_known_of_the_account(password: str, names: Iterable[str]) -> bool:
    """Whether it is one of the names, or one with digits and signs around it: acme, Acme2026!"""
    folded, known = password.casefold(), {name.casefold() for name in names if name}
    return folded in known or (_bare(folded) or folded) in map(_bare, known)


def _bare(text: str) -> str:
    """Without digits and signs at either end."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


@cache
def _common_passwords() -> frozenset[str]:
    """Those of the 30,000 that come with zxcvbn that are long enough, in lower case.

    Read past that package, which would take half a dozen further lists into memory and keep them.
    """
    package = find_spec("zxcvbn")
    folder = Path(package.submodule_search_locations[0]) if package and package.submodule_search_locations else Path()
    spec = spec_from_file_location("frequency_lists", folder / "frequency_lists.py")
    if spec is None or spec.loader is None:
        raise ImportError("zxcvbn is not installed")
    lists = module_from_spec(spec)
    spec.loader.exec_module(lists)
    return frozenset(password for password in lists.FREQUENCY_LISTS["passwords"] if len(password) >= SHORTEST)


def _canonical(password: str) -> str:
    """NFC (RFC 8265, section 4.2): what one keyboard composes and another does not is the same password."""
    return unicodedata.normalize("NFC", password)
