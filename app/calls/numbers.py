"""Telephone numbers: the same one however it is written, with phonenumbers, which knows every country's numbers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, ValidationResult

LONGEST_EXTENSION: Final = 6  # digits
REMEMBERED: Final = 16_384  # numbers, of about 200 bytes; to read one takes longer than all else that is done with it

_NUMBER: Final = re.compile(r"\+?[0-9 ()./-]{3,40}")


@lru_cache(REMEMBERED)
def e164(number: str, country: str | None) -> str | None:
    """``+442071234567`` for any usual spelling of it (ITU-T E.164); None for what is no such number.

    country: of whoever wrote it, ISO 3166-1 alpha-2; without one, only what begins with ``+`` or ``00`` can be read.

    An extension, which has up to six digits, is none. With a country's code, a number that can have so many digits is
    taken: numbers are added every week. Without, it has to be one of the country's, or a local number would get a
    wrong code.
    """
    if not _NUMBER.fullmatch(number):
        return None
    international = re.sub(r"^\s*00", "+", number)
    if not international.startswith("+"):
        if country is None or sum(map(str.isdecimal, number)) <= LONGEST_EXTENSION:
            return None
        found = _read(number, country)
        return _written(found) if found and phonenumbers.is_valid_number(found) else None
    found = _read(international, None)
    return _written(found) if found and _is_possible(found) else None


@lru_cache(REMEMBERED)
def shown(number: str) -> str:
    """A number in E.164 as people write it: ``+44 20 7123 4567``."""
    found = _read(number, None)
    return phonenumbers.format_number(found, PhoneNumberFormat.INTERNATIONAL) if found else number


def _read(number: str, country: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return None


def _is_possible(number: PhoneNumber) -> bool:
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


def _written(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
