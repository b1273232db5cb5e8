"""The stored value: ``v1:<key id>:<Fernet token>``.

The token is a standard Fernet token (https://github.com/fernet/spec/blob/master/Spec.md) under a key derived for this
value alone, so that ``cryptography.fernet.Fernet`` opens it wherever the master key is at hand. It is made and read
here, and not by that class, for two reasons: the class accepts several spellings of one token, where a stored value
with any bit changed must be refused; and it sets up objects that a rotation has no use for, at twice the time.
"""

from __future__ import annotations

import binascii
import hmac
import os
import re
import time
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from app.encryption.keyring import Context, Keyring, MasterKey, hmac_sha256

VERSION: Final = "v1"
TOKEN_START: Final = "gAAAA"  # a Fernet token's version byte and the zero bytes of its 64-bit time stamp
PREFIX_LENGTH: Final = len("v1:01234567:")
MINIMUM_LENGTH: Final = PREFIX_LENGTH + 100  # the token of an empty text is 73 bytes long

_FORMAT = re.compile(r"v1:([0-9a-f]{8}):(gAAAA[A-Za-z0-9_-]+={0,2})")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLOCK = 16


class EncryptionError(Exception):
    """A stored value that cannot be opened. Names where it is and under which key, never what it holds.

    column: the encrypted attribute. row: primary key. key_id: id in the value, or None when it has none.
    outcome: the reason in a word.
    """

    reason: str
    outcome: str

    def __init__(self, context: Context, key_id: str | None = None) -> None:
        self.column, self.row, self.key_id = context.column, context.row, key_id
        super().__init__(f"{self.column} of row {self.row} {self.reason} (key id {key_id or 'none'})")


class UnknownKey(EncryptionError):
    """Sealed under a key that this process does not hold: its configuration is behind, the value is fine."""

    reason = "is sealed under a key that is not configured"
    outcome = "unknown_key"


class DoesNotOpen(EncryptionError):
    """Moved from another row, column or owner, altered, or corrupt."""

    reason = "does not open: moved, altered or corrupt"
    outcome = "does_not_open"


class NotSealed(EncryptionError):
    """Not in the format of a sealed value at all."""

    reason = "is not a sealed value"
    outcome = "not_sealed"


OPENED: Final = "opened"
OPENING: Final = (OPENED, UnknownKey.outcome, DoesNotOpen.outcome, NotSealed.outcome)


def seal(key: MasterKey, context: Context, plaintext: bytes) -> str:
    """Encrypt ``plaintext`` under ``key`` for the one place that ``context`` names."""
    return f"{VERSION}:{key.id}:{_encrypt(key.value_key(context), plaintext)}"


def open(keyring: Keyring, context: Context, value: str) -> bytes:
    """Decrypt what :func:`seal` made for the same context.

    Raises :class:`NotSealed`, :class:`UnknownKey` or :class:`DoesNotOpen`.
    """
    match = _FORMAT.fullmatch(value)
    if match is None:
        raise NotSealed(context)
    key_id, token = match.groups()
    key = keyring.get(key_id)
    if key is None:
        raise UnknownKey(context, key_id)
    plaintext = _decrypt(key.value_key(context), token)
    if plaintext is None:
        raise DoesNotOpen(context, key_id)
    return plaintext


def is_sealed(value: object) -> bool:
    """Whether ``value`` has the format of a sealed value. Says nothing about whether it opens."""
    return isinstance(value, str) and len(value) >= MINIMUM_LENGTH and _FORMAT.fullmatch(value) is not None


def _encrypt(key: bytes, plaintext: bytes) -> str:
    """A Fernet token: 0x80, seconds since 1970 as 64 bits, IV, AES-128-CBC with PKCS #7, HMAC-SHA256 of all that."""
    iv = os.urandom(_BLOCK)
    padding = _BLOCK - len(plaintext) % _BLOCK
    encryptor = Cipher(AES(key[16:]), CBC(iv)).encryptor()
    ciphertext = encryptor.update(plaintext + bytes((padding,)) * padding)
    signed = b"\x80" + int(time.time()).to_bytes(8, "big") + iv + ciphertext
    return _to_text(signed + hmac_sha256(key[:16], signed))


def _decrypt(key: bytes, token: str) -> bytes | None:
    """What :func:`_encrypt` was given, or None unless every character of the token is as it was made. No age limit."""
    try:
        data = binascii.a2b_base64(token.encode("ascii").translate(_STANDARD))
    except binascii.Error:
        return None
    # Base64 leaves bits of the last character unused: only the canonical spelling counts as unaltered.
    if len(data) < 73 or len(data) % _BLOCK != 73 % _BLOCK or _to_text(data) != token:
        return None
    signed, signature = data[:-32], data[-32:]
    if not hmac.compare_digest(hmac_sha256(key[:16], signed), signature):
        return None
    decryptor = Cipher(AES(key[16:]), CBC(signed[9:25])).decryptor()
    padded = decryptor.update(signed[25:])
    return padded[: -padded[-1]]  # the signature vouches for the padding


def _to_text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE).decode("ascii")
