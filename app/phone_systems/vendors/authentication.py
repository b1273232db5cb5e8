"""How a phone system shows that a delivery is its own.

Each way compares in a time that depends on neither side: of both only digests are compared, which have one length.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, repr=False)
class Proof:
    """What a delivery has to show for itself, which nothing prints. None: it has none. body: the bytes that
    ``signature`` is of; without a signature they may be missing."""

    username: str | None = None
    password: str | None = None
    signature: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Authentication:
    """One way to do it.

    names: whether the proof claims to be of the phone system with this user name. proves: whether it was made with
    this secret. secret_length: in characters, where the phone system makes the secret up, and people bring it here;
    None where we do.
    """

    names: Callable[[Proof, str], bool]
    proves: Callable[[Proof, str], bool]
    secret_length: int | None = None

    @property
    def made_by_pbx(self) -> bool:
        """Whether the phone system makes the secret up."""
        return self.secret_length is not None


def _has_username(proof: Proof, username: str) -> bool:
    return _same(proof.username or "", username) and bool(username)


def _has_password(proof: Proof, secret: str) -> bool:
    return _same(proof.password or "", secret) and bool(secret)


def _has_signature(proof: Proof, username: str) -> bool:
    """A signature names nobody: the address alone says whose it is."""
    return bool(proof.signature)


def _is_signed(proof: Proof, secret: str) -> bool:
    """Base64 of HMAC-SHA256 over the body, with the secret's characters as the key."""
    key = secret.encode("utf-8", "surrogatepass")
    expected = b64encode(hmac.digest(key, proof.body, "sha256")).decode()
    return _same(proof.signature or "", expected)


def _same(given: str, stored: str) -> bool:
    return hmac.compare_digest(_digest(given), _digest(stored))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


BASIC: Final = Authentication(_has_username, _has_password)
SIGNATURE: Final = Authentication(_has_signature, _is_signed, secret_length=32)
ALL: Final = (BASIC, SIGNATURE)
