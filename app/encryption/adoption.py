"""Values of older schemas, which other applications have stored: plaintext, base64, bare Fernet tokens, and credential
files. Opened here so that they can be sealed as ours.

A Fernet token is told from anything else surely, by how it begins. Plaintext and base64 are not told apart: most words
of 4, 8 or 12 letters are both. So which of them it is has to be said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

Encoding = Literal["plaintext", "base64", "fernet", "fernet or plaintext", "fernet or base64"]
ENCODINGS: Final[tuple[str, ...]] = get_args(Encoding)

PBKDF2_ITERATIONS: Final = 100_000
SALT_BYTES: Final = 16

# The version byte of a token and the zero bytes that its time stamp begins with; and the same in base64 once more, as
# some applications store it.
_TOKEN: Final = b"gAAAAA"
_TOKEN_IN_BASE64: Final = base64.b64encode(_TOKEN)
_SEALED: Final = re.compile(rb"v1:[0-9a-f]{8}:gAAAA")
_BLANKS: Final = re.compile(rb"\s+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # all but tabs and line ends
_FERNET_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}=?")


class NotAdoptable(Exception):
    """The value cannot be taken over. ``reason`` says why, in words that follow on where it is; never what it is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MalformedOldKey(ValueError):
    """The text does not hold Fernet keys. Never repeated here."""


class OldKeys:
    """The Fernet keys of another application: each is tried. Shows and pickles none."""

    __slots__ = ("_fernet",)

    def __init__(self, *keys: bytes) -> None:
        """keys: 32 bytes each, one or more."""
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    @classmethod
    def parse(cls, text: str) -> OldKeys:
        """Read one Fernet key, or several with commas between them. Raises :class:`MalformedOldKey`."""
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not keys or not all(map(_FERNET_KEY.fullmatch, keys)):
            raise MalformedOldKey("must be a Fernet key (44 characters of URL-safe base64), or several with commas")
        return cls(*(base64.urlsafe_b64decode(key.rstrip("=") + "=") for key in keys))

    @classmethod
    def of_user(cls, secret: str, user_id: str) -> OldKeys:
        """The key of one user's credential file: PBKDF2-HMAC-SHA256 of the application's ``secret``, with 100,000
        iterations and a salt of the first 16 bytes of the SHA-256 of the user's id."""
        salt = hashlib.sha256(user_id.encode()).digest()[:SALT_BYTES]
        return cls(hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, PBKDF2_ITERATIONS, 32))

    def open(self, token: bytes) -> bytes:
        """What the token holds, however old it is. Raises :class:`NotAdoptable`."""
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise NotAdoptable("does not open with the old key: another key, or altered or cut off") from None

    def __repr__(self) -> str:
        return "<OldKeys>"

    def __reduce__(self) -> Any:
        raise TypeError("keys cannot be pickled")


def is_empty(value: object) -> bool:
    """Whether there is nothing to take over: NULL, or an empty text."""
    return value is None or value in ("", b"")


def open_value(value: object, encoding: str, keys: OldKeys | None = None) -> str:
    """The text that another application has stored as ``value``, text or bytes.

    encoding: one of :data:`ENCODINGS`. keys: needed where a token may be found.
    Raises :class:`NotAdoptable`.
    """
    stored = _bytes_of(value)
    without_blanks = _BLANKS.sub(b"", stored)
    is_token = without_blanks.startswith((_TOKEN, _TOKEN_IN_BASE64))
    if _SEALED.match(without_blanks):
        raise NotAdoptable("is a value that AudiaPro has sealed: it opens in its own row alone")
    if is_token and "fernet" not in encoding:
        raise NotAdoptable(f"is a Fernet token, not {encoding}: say so in the mapping")
    if is_token:
        assert keys is not None, "where a token may be found there are keys"
        return _text_of(keys.open(_without_wrapper(without_blanks)))
    if encoding == "fernet":
        raise NotAdoptable("is not a Fernet token")
    if _TOKEN in without_blanks:
        raise NotAdoptable("has a Fernet token in it, and something around that")
    return _text_of(_from_base64(without_blanks) if "base64" in encoding else stored)


@dataclass(frozen=True, repr=False)
class CredentialFile:
    """A credential file before it is opened."""

    user_id: str
    created_at: str | None
    encrypted_data: str

    @classmethod
    def parse(cls, content: bytes) -> CredentialFile:
        """Read ``{user_id, encrypted_data, created_at, encryption_version}`` in JSON. The version is not looked at: a
        token of another scheme does not open. Raises :class:`NotAdoptable`."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise NotAdoptable("is not JSON") from None
        if not isinstance(found, Mapping):
            raise NotAdoptable("is not a JSON object")
        user_id, data, created_at = (found.get(name) for name in ("user_id", "encrypted_data", "created_at"))
        if not isinstance(user_id, str | int) or isinstance(user_id, bool) or user_id == "":
            raise NotAdoptable("has no user_id")
        _bytes_of(str(user_id))
        if not isinstance(data, str | None) or "encrypted_data" not in found:
            raise NotAdoptable("has no encrypted_data")
        return cls(str(user_id), created_at if isinstance(created_at, str) else None, data or "")

    def open(self, secret: str) -> str:
        """What is in it, for the application's ``secret``. Raises :class:`NotAdoptable`."""
        return open_value(self.encrypted_data, "fernet", OldKeys.of_user(secret, self.user_id))


def _bytes_of(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise NotAdoptable("is not UTF-8 text") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise NotAdoptable(f"is neither text nor bytes, but {type(value).__name__}")


def _without_wrapper(token: bytes) -> bytes:
    return token if token.startswith(_TOKEN) else _from_base64(token)


def _from_base64(text: bytes) -> bytes:
    """Of either alphabet, with or without padding; but nothing that only looks like it. Raises NotAdoptable."""
    unpadded = text.rstrip(b"=")
    standard = unpadded.replace(b"-", b"+").replace(b"_", b"/")
    mixed = {*b"+/"} & {*unpadded} and {*b"-_"} & {*unpadded}
    try:
        data = base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except binascii.Error:
        data = None
    # The bits that are left over in the last character are zero, where an encoder has written it.
    if data is None or mixed or len(text) - len(unpadded) > 2 or base64.b64encode(data).rstrip(b"=") != standard:
        raise NotAdoptable("is not base64, or is cut off")
    return data


def _text_of(data: bytes) -> str:
    """A secret is text, of one line or several. Raises NotAdoptable."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NotAdoptable("holds bytes that are not UTF-8 text") from None
    if _CONTROL.search(text):
        raise NotAdoptable("holds control characters, such as NUL")
    return text
