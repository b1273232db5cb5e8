"""Master keys: what ``ENCRYPTION_KEY`` and ``ENCRYPTION_KEY_FALLBACKS`` hold, their ids, and what is derived from them.

A master key never encrypts anything itself. It is the uniformly random input of HKDF-Expand (RFC 5869, section 2.3),
which gives the key's public id and one key for every stored value.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, NoReturn

KEY_BYTES: Final = 32
PLATFORM: Final = "platform"  # the owner of what belongs to neither a tenant nor a user

_KEY_ID = re.compile(r"[0-9a-f]{8}")
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


class MalformedKey(ValueError):
    """The text is not a master key. The message says what one looks like and never repeats the text."""


class Context(NamedTuple):
    """What a sealed value is bound to; it opens nowhere else.

    column: public name of the encrypted attribute when it was introduced, such as ``phone_systems.password``.
    owner: id of the owning tenant or user, or :data:`PLATFORM`.
    row: primary key of the row. UUIDs are canonical lower-case text with dashes.
    """

    column: str
    owner: str
    row: str


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of ``message`` under a key of at most 64 bytes.

    Two plain hash calls take half the time of ``hmac.digest``, and every stored value needs four of these.
    """
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(block.translate(_INNER_PAD) + message).digest()
    return hashlib.sha256(block.translate(_OUTER_PAD) + inner).digest()


_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class MasterKey:
    """One 32-byte master key. Its ``id`` is public; nothing prints, pickles or compares the rest.

    Two master keys are equal when their bytes are, however they were written down.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        """Raises :class:`MalformedKey` unless ``secret`` is 32 bytes long."""
        if len(secret) != KEY_BYTES:
            raise MalformedKey(f"must be {KEY_BYTES} bytes long")
        self._secret = secret
        self.id = self._expand(b"audiapro/key-id")[:4].hex()

    @classmethod
    def parse(cls, text: str) -> MasterKey:
        """Read a Fernet key (URL-safe base64) or 64 hex digits. Raises :class:`MalformedKey` for anything else."""
        text = text.strip()
        if _HEX_KEY.fullmatch(text):
            return cls(bytes.fromhex(text))
        if _BASE64_KEY.fullmatch(text):
            try:
                return cls(base64.urlsafe_b64decode(text.rstrip("=") + "="))
            except binascii.Error:
                pass
        raise MalformedKey("must be a Fernet key (44 characters of URL-safe base64) or 64 hex digits")

    def value_key(self, context: Context) -> bytes:
        """The 32-byte Fernet key of the one value that ``context`` names."""
        return self._expand(f"audiapro/v1|{context.column}|{context.owner}|{context.row}".encode())

    def _expand(self, info: bytes) -> bytes:
        """HKDF-Expand-SHA256 to 32 bytes, which is exactly its first block: T(1) = HMAC(key, info | 0x01)."""
        return hmac_sha256(self._secret, info + b"\x01")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MasterKey) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<MasterKey {self.id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key cannot be pickled")


class Keyring:
    """The primary key, which seals and opens, and the fallbacks, which only open."""

    __slots__ = ("_keys", "fallbacks", "primary")

    def __init__(self, primary: MasterKey, fallbacks: Iterable[MasterKey] = ()) -> None:
        """Raises ValueError when two of the keys share an id."""
        self.primary = primary
        self.fallbacks = tuple(fallbacks)
        self._keys = {key.id: key for key in self}
        if len(self._keys) != 1 + len(self.fallbacks):
            raise ValueError("two keys of a keyring have the same id")

    def get(self, key_id: str) -> MasterKey | None:
        """The key with that id, or None when this keyring does not hold it."""
        return self._keys.get(key_id)

    def only_primary(self) -> Keyring:
        """The same keyring without its fallbacks: what a rotation is proved with."""
        return Keyring(self.primary)

    def secrets(self) -> tuple[bytes, ...]:
        """The keys themselves, primary first: for handing them to a process of our own, and nothing else."""
        return tuple(key._secret for key in self)

    def __iter__(self) -> Iterator[MasterKey]:
        yield self.primary
        yield from self.fallbacks

    def __repr__(self) -> str:
        return f"<Keyring {' '.join(key.id for key in self)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring cannot be pickled")


def is_key_id(text: str) -> bool:
    """Whether ``text`` has the form of a key id: 8 lower-case hex digits."""
    return _KEY_ID.fullmatch(text) is not None
