"""Access and refresh tokens: JSON Web Tokens (RFC 7519) under HS256.

Each of the two kinds is signed under a key of its own, derived from ``JWT_SECRET_KEY`` by HKDF-SHA256 (RFC 5869). The
header's ``kid`` is the public id of the secret that the key came from, so that tokens signed before a rotation are
still verified by ``JWT_SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, cast
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask, current_app, request
from jwt import ExpiredSignatureError, InvalidSignatureError, PyJWTError

from app.database import now
from app.errors import Unauthenticated

ISSUER: Final = "audiapro"
AUDIENCE: Final = "audiapro/api"
ALGORITHM: Final = "HS256"
CLAIMS: Final = ["iss", "aud", "type", "sub", "tenant", "sid", "jti", "iat", "nbf", "exp"]

TokenType = Literal["access", "refresh"]


class Subject(NamedTuple):
    """Whom a token speaks for: a user, the tenant that was signed in to, and the session that this began."""

    user_id: UUID
    tenant_id: UUID
    session_id: UUID


def derive_key(secret: str, info: str) -> bytes:
    """32 bytes for the purpose that ``info`` names: HKDF-SHA256 without salt."""
    return HKDF(SHA256(), 32, salt=None, info=info.encode()).derive(secret.encode())


class SigningKeys:
    """What is derived from the JWT secrets: the first signs, all of them verify."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._keys: dict[tuple[str, TokenType], bytes] = {}
        ids = []
        for secret in secrets:
            ids.append(key_id := derive_key(secret, "audiapro/jwt/key-id")[:4].hex())
            self._keys[key_id, "access"] = derive_key(secret, "audiapro/jwt/access")
            self._keys[key_id, "refresh"] = derive_key(secret, "audiapro/jwt/refresh")
        self.current_id = ids[0]

    def signing_key(self, token_type: TokenType) -> bytes:
        return self._keys[self.current_id, token_type]

    def verifying_keys(self, token_type: TokenType) -> list[tuple[str, bytes]]:
        """The id of each secret, the current one first, and its key for tokens of that type."""
        return [(key_id, key) for (key_id, key_type), key in self._keys.items() if key_type == token_type]

    def __repr__(self) -> str:
        return f"<SigningKeys {self.current_id}>"


def init_app(app: Flask, secrets: Iterable[str], access_expires: timedelta) -> None:
    """Sign and verify tokens with ``secrets``: the current one first, then its fallbacks."""
    app.extensions["signing_keys"] = SigningKeys(secrets)
    app.extensions["access_token_expires"] = access_expires


def access_expires() -> timedelta:
    """How long an access token is good for."""
    return cast(timedelta, current_app.extensions["access_token_expires"])


def access_token(subject: Subject) -> str:
    """A token that opens the API for ``subject``."""
    return _sign(subject, "access", uuid4(), access_expires())


def refresh_token(subject: Subject, token_id: UUID, expires: timedelta) -> str:
    """A token that opens nothing but the way to new tokens, once. ``token_id`` becomes its ``jti``."""
    return _sign(subject, "refresh", token_id, expires)


def _sign(subject: Subject, token_type: TokenType, token_id: UUID, expires: timedelta) -> str:
    moment, keys = now(), _signing_keys()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "type": token_type,
        "sub": str(subject.user_id),
        "tenant": str(subject.tenant_id),
        "sid": str(subject.session_id),
        "jti": str(token_id),
        "iat": moment,
        "nbf": moment,
        "exp": moment + expires,
    }
    return jwt.encode(claims, keys.signing_key(token_type), ALGORITHM, headers={"kid": keys.current_id})


def verify(token_type: TokenType) -> tuple[Subject, UUID]:
    """Whom the request's bearer token speaks for, and the token's own id. Raises
    :class:`~app.errors.Unauthenticated` unless it is a valid token of that type."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = _open(token if scheme.lower() == "bearer" else "", token_type)
        user_id, tenant_id, session_id, token_id = (UUID(str(claims[name])) for name in ("sub", "tenant", "sid", "jti"))
    except ExpiredSignatureError:
        raise Unauthenticated(f"The {token_type} token has expired.") from None
    except (PyJWTError, ValueError, OverflowError, RecursionError):
        # the last three: what is no UUID, or no text; a time beyond all; nesting without end
        detail = f"This needs a valid {token_type} token in the header `Authorization: Bearer …`."
        raise Unauthenticated(detail) from None
    return Subject(user_id, tenant_id, session_id), token_id


def _open(token: str, token_type: TokenType) -> dict[str, Any]:
    """The claims of a token. Raises PyJWTError unless it is signed under the key that it names, and all are right."""
    for key_id, key in _signing_keys().verifying_keys(token_type):
        try:
            opened = jwt.decode_complete(token, key, [ALGORITHM], {"require": CLAIMS}, issuer=ISSUER, audience=AUDIENCE)
        except InvalidSignatureError:
            continue
        if opened["header"].get("kid") == key_id and opened["payload"]["type"] == token_type:
            return cast(dict[str, Any], opened["payload"])
    raise InvalidSignatureError


def _signing_keys() -> SigningKeys:
    keys: SigningKeys = current_app.extensions["signing_keys"]
    return keys
