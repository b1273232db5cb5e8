"""The stored format a second time, from its written description and with nothing but the package `cryptography`."""

import base64

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


def hkdf_expand(master: bytes, info: str) -> bytes:
    return HKDFExpand(SHA256(), 32, info.encode()).derive(master)


def key_id(master: bytes) -> str:
    return hkdf_expand(master, "audiapro/key-id")[:4].hex()


def fernet(master: bytes, column: str, owner: object, row: object) -> Fernet:
    """What opens and seals the value of one column of one row."""
    return Fernet(base64.urlsafe_b64encode(hkdf_expand(master, f"audiapro/v1|{column}|{owner}|{row}")))


def seal(master: bytes, column: str, owner: object, row: object, plaintext: bytes) -> str:
    return f"v1:{key_id(master)}:{fernet(master, column, owner, row).encrypt(plaintext).decode()}"


def unseal(master: bytes, column: str, owner: object, row: object, value: str) -> bytes:
    version, its_key_id, token = value.split(":")
    assert (version, its_key_id) == ("v1", key_id(master))
    return fernet(master, column, owner, row).decrypt(token)
