"""What is signed is verified, and everything else refused: tried with the running configuration.

The cases are those that have broken verifiers: RFC 8725 (JSON Web Token Best Current Practices), sections 2 and 3.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import current_app

from app.database import now
from app.doctor.findings import Finding, failure, ok
from app.errors import Unauthenticated
from app.identity.tokens import ALGORITHM, AUDIENCE, ISSUER, SigningKeys, Subject, access_token, refresh_token, verify


def check() -> Iterator[Finding]:
    """One line, or one for each kind of token that is treated wrongly."""
    subject = Subject(uuid4(), uuid4(), uuid4())
    wrong = [name for name, token in _forged(subject).items() if _is_accepted(token)]
    if not _is_accepted(access_token(subject)):
        yield failure("tokens", "A token that was just signed is refused: is the clock of this machine right?")
    for name in wrong:
        yield failure("tokens", f"A token is accepted that must not be: {name}. Take the service down and report this.")
    if not wrong:
        yield ok("tokens", f"what is signed is accepted, {len(_forged(subject))} kinds of forgery are refused")


def _is_accepted(token: str) -> bool:
    with current_app.test_request_context(headers={"Authorization": f"Bearer {token}"}):
        try:
            verify("access")
        except Unauthenticated:
            return False
    return True


def _forged(subject: Subject) -> dict[str, str]:
    """Tokens that open nothing, by what is wrong with them."""
    keys: SigningKeys = current_app.extensions["signing_keys"]
    key, moment = keys.signing_key("access"), now()
    rsa_key = rsa.generate_private_key(65_537, 2048)
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "type": "access",
        "sub": str(subject.user_id),
        "tenant": str(subject.tenant_id),
        "sid": str(subject.session_id),
        "jti": str(uuid4()),
        "iat": moment,
        "nbf": moment,
        "exp": moment + timedelta(minutes=1),
    }

    def signed(changes: Mapping[str, Any] | None = None, without: str = "", under: Any = key, **header: Any) -> str:
        chosen = {name: value for name, value in (claims | dict(changes or {})).items() if name != without}
        algorithm = header.pop("alg", ALGORITHM)
        return jwt.encode(chosen, under, algorithm, headers={"kid": keys.current_id} | header)

    head, body, signature = signed().split(".")
    forged = {
        "signed with another key": signed(under=b"\x00" * 32),
        "signed with the key of refresh tokens": signed(under=keys.signing_key("refresh")),
        "a refresh token": refresh_token(subject, uuid4(), timedelta(minutes=1)),
        "expired": signed({"exp": moment - timedelta(minutes=1)}),
        "not valid yet": signed({"nbf": moment + timedelta(minutes=5)}),
        "for another audience": signed({"aud": "another"}),
        "from another issuer": signed({"iss": "another"}),
        "without its signature": f"{head}.{body}.",
        "with another user in it": f"{head}.{_part(json.loads(_text(body)) | {'sub': str(uuid4())})}.{signature}",
        "algorithm HS384": signed(under=key + key, alg="HS384"),
        "algorithm HS512": signed(under=key + key, alg="HS512"),
        "algorithm RS256": signed(under=rsa_key, alg="RS256"),
        "without the id of its key": signed(kid=""),
        "with the id of another key": signed(kid="00000000"),
    }
    forged |= {f"without {name}": signed(without=name) for name in claims}
    for name in ("none", "None", "nOnE", "NONE"):
        forged[f"algorithm {name}"] = f"{_part({'alg': name, 'typ': 'JWT', 'kid': keys.current_id})}.{body}."
    for name in ("jwk", "jku", "x5u", "x5c"):
        header: dict[str, Any] = {"alg": "RS256", name: "https://attacker.example/keys"}
        forged[f"that names its own key by {name}"] = signed(None, "", rsa_key, **header)
    return forged


def _part(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _text(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
