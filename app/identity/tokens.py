"""Access and refresh tokens: JSON Web Tokens (RFC 7519) under HS256.

Each of the two kinds is signed under a key of its own, derived from ``JWT_SECRET_KEY`` by HKDF-SHA256 (RFC 5869). The
header's ``kid`` is the public id of the secret that the key came from, so that tokens signed before a rotation are
still verified by ``JWT_SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from apiflask import APIFlask
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app
from flask_jwt_extended import create_access_token, create_refresh_token, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import ExpiredSignatureError, PyJWTError

from app.errors import Unauthenticated
from app.extensions import jwt

ISSUER: Final = "audiapro"
AUDIENCE: Final = "audiapro/api"
ALGORITHM: Final = "HS256"

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

    def verifying_key(self, key_id: Any, token_type: Any) -> bytes | None:
        """The key for a token's ``kid`` and ``type``, which may be anything; None when there is none."""
        if not isinstance(key_id, str) or token_type not in ("access", "refresh"):
            return None
        return self._keys.get((key_id, token_type))

    def __repr__(self) -> str:
        return f"<SigningKeys {self.current_id}>"


def init_app(app: APIFlask, secrets: Iterable[str], access_expires: timedelta) -> None:
    """Sign and verify tokens with ``secrets``: the current one first, then its fallbacks."""
    app.extensions["signing_keys"] = SigningKeys(secrets)
    app.config.from_mapping(
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_ACCESS_TOKEN_EXPIRES=access_expires,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_COOKIE_CSRF_PROTECT=False,  # there are no cookies
    )
    jwt.init_app(app)


def access_token(subject: Subject) -> str:
    """A token that opens the API for ``subject``."""
    return str(create_access_token(_Unsigned(subject, "access")))


def refresh_token(subject: Subject, token_id: UUID, expires: timedelta) -> str:
    """A token that opens nothing but the way to new tokens, once. ``token_id`` becomes its ``jti``."""
    token = _Unsigned(subject, "refresh")
    return str(create_refresh_token(token, expires_delta=expires, additional_claims={"jti": str(token_id)}))


def verify(token_type: TokenType) -> tuple[Subject, UUID]:
    """Whom the request's bearer token speaks for, and the token's own id. Raises
    :class:`~app.errors.Unauthenticated` unless it is a valid token of that type."""
    try:
        verified = verify_jwt_in_request(refresh=token_type == "refresh")
        if verified is None:  # OPTIONS, which the library lets pass
            raise Unauthenticated("Sign in first.")
        claims = verified[1]
        subject = Subject(UUID(claims["sub"]), UUID(claims["tenant"]), UUID(claims["sid"]))
        return subject, UUID(claims["jti"])
    except ExpiredSignatureError:
        raise Unauthenticated(f"The {token_type} token has expired.") from None
    except (PyJWTError, JWTExtendedException, ValueError, OverflowError, RecursionError, IndexError):
        # the last four: JSON in a token that is no text, has numbers or is nested beyond measure; a header of commas
        detail = f"This needs a valid {token_type} token in the header `Authorization: Bearer …`."
        raise Unauthenticated(detail) from None


class _Unsigned(NamedTuple):
    """What the library is given as a token's identity, so that it asks for the key of the right type."""

    subject: Subject
    type: TokenType


def _signing_keys() -> SigningKeys:
    keys: SigningKeys = current_app.extensions["signing_keys"]
    return keys


@jwt.user_identity_loader
def _sub_claim(token: _Unsigned) -> str:
    return str(token.subject.user_id)


@jwt.additional_claims_loader
def _further_claims(token: _Unsigned) -> dict[str, Any]:
    return {"tenant": str(token.subject.tenant_id), "sid": str(token.subject.session_id)}


@jwt.additional_headers_loader
def _headers(token: _Unsigned) -> dict[str, Any]:
    return {"kid": _signing_keys().current_id}


@jwt.encode_key_loader
def _signing_key(token: _Unsigned) -> bytes:
    return _signing_keys().signing_key(token.type)


@jwt.decode_key_loader
def _verifying_key(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    """Neither argument is verified yet: a token that names another type than its own is looked at under another key,
    which refuses it."""
    key = _signing_keys().verifying_key(header.get("kid"), claims.get("type"))
    if key is None:
        raise PyJWTError("signed under no key of ours")
    return key


@jwt.token_verification_loader
def _has_every_claim(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    """The library does without these, and makes up a ``jti``; it insists on ``iss`` and ``aud`` once they are set."""
    texts, times = ("sub", "tenant", "sid", "jti", "type"), ("exp", "iat", "nbf")
    return all(isinstance(claims.get(name), str) for name in texts) and all(name in claims for name in times)
