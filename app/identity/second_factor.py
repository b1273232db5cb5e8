"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for whoever has lost it.

The secret that the app shares with us is an encrypted column. So is the list of what the recovery codes hash to:
without the master key a copy of the database does not even serve to try codes out. The codes are random enough for a
plain SHA-256, and a slow hash would be asked once for each of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

import pyotp
import segno
from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from app.database import now
from app.errors import Conflict, Invalid, Unauthenticated
from app.identity import signing_out
from app.identity.models import OneTimeToken, User
from app.identity.one_time import void_tokens
from app.identity.trail import record_for_each_tenant
from app.mail import service as mail
from app.mail.messages import SecondFactorRemoved

ISSUER: Final = "AudiaPro"
STEP_SECONDS: Final = 30
TOLERANCE: Final = 1  # steps that the clock of a phone may be ahead or behind
RECOVERY_CODES: Final = 10
RECOVERY_CODE_BYTES: Final = 10

_SIX_DIGITS: Final = re.compile(r"[0-9]{6}")


class CodeRefused(Unauthenticated):
    """The password was right, but not the code. ``reason``: for the audit trail; ``outcome``: for the metrics."""

    def __init__(self, detail: str, message: str, reason: str) -> None:
        super().__init__(detail, [{"field": "code", "message": message}])
        self.reason = reason
        self.outcome = reason.replace(" ", "_")


@dataclass(frozen=True, repr=False)
class Enrolment:
    """What an authenticator app is to be given, in one of three forms.

    secret: Base32, to be typed. uri: ``otpauth://…``. qr_code: the same as a picture, a ``data:`` URI of an SVG.
    """

    secret: str
    uri: str
    qr_code: str


def begin(session: Session, user_id: UUID) -> Enrolment:
    """A new secret for the user, which means nothing until it is confirmed. One that was not confirmed is forgotten.

    Raises :class:`~app.errors.Conflict` where a second factor is on.
    """
    user = _locked(session, user_id)
    if user.has_second_factor:
        raise Conflict("There is a second factor already: remove it first.")
    user.totp_secret = secret = pyotp.random_base32()
    enrolment = _enrolment(user.email, secret)
    session.commit()
    return enrolment


def waiting(session: Session, user_id: UUID) -> Enrolment | None:
    """What :func:`begin` gave, while it waits to be confirmed: for whoever has mistyped the code. None where nothing
    waits."""
    user = session.get_one(User, user_id)
    secret = None if user.has_second_factor else user.totp_secret
    return None if secret is None else _enrolment(user.email, secret)


def _enrolment(email: str, secret: str) -> Enrolment:
    uri = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    return Enrolment(secret, uri, segno.make(uri).svg_data_uri(scale=4))


def confirm(session: Session, user_id: UUID, code: str, session_id: UUID) -> list[str]:
    """Switch the second factor on, and end the user's other sessions, which began without it; links that were mailed
    before are void. Returns recovery codes.

    code: of the app. session_id: of the session that goes on. Raises :class:`~app.errors.Invalid` for a wrong code,
    and :class:`~app.errors.Conflict` where there is nothing to confirm.
    """
    user = _locked(session, user_id)
    secret = None if user.has_second_factor else user.totp_secret
    if secret is None:
        raise Conflict("There is no second factor that waits to be confirmed.")
    step = _matching_step(secret, _canonical(code))
    if step is None:
        message = "is not what the app shows now: try the next one, and see that the clock of the device is right"
        raise Invalid("The code is not right.", [{"field": "code", "message": message}])
    user.totp_confirmed_at, user.totp_used_step = now(), step
    codes = _set_recovery_codes(user)
    record_for_each_tenant(session, "second_factor.added", user_id)
    void_tokens(session, OneTimeToken.user_id == user_id)
    signing_out.end_others(session, user_id, keep=session_id)
    session.commit()
    return codes


def use_code(session: Session, user: User, code: str | None) -> dict[str, Any]:
    """Use up the code of somebody whose password was right. Nothing where no second factor is on. Returns what the
    audit trail is to tell: that it was a recovery code, which a thief might have found.

    user: as they are now. code: of the app, or a recovery code; None if there was none. Not committed here: whoever is
    refused for another reason after this has not used the code up. Raises :class:`CodeRefused`.
    """
    if not user.has_second_factor:
        return {}
    if code is None:
        detail = "The account has a second factor: a code is needed too."
        raise CodeRefused(detail, "of the authenticator app, or a recovery code", reason="no code")
    code = _canonical(code)
    of_the_app = _SIX_DIGITS.fullmatch(code) is not None
    if not (_use_totp(session, user, code) if of_the_app else _use_recovery_code(session, user.id, code)):
        detail = "The code is not right, or was used before."
        raise CodeRefused(detail, "is not right, or was used before", reason="wrong code")
    return {} if of_the_app else {"recovery_code": True}


def renew_recovery_codes(session: Session, user_id: UUID) -> list[str]:
    """New recovery codes in place of those that there are. Raises :class:`~app.errors.Conflict` where no second factor
    is on."""
    user = _locked(session, user_id)
    if not user.has_second_factor:
        raise Conflict("There is no second factor: recovery codes come with it.")
    codes = _set_recovery_codes(user)
    record_for_each_tenant(session, "recovery_codes.renewed", user_id)
    session.commit()
    return codes


def recovery_codes_left(session: Session, user_id: UUID) -> int:
    """How many recovery codes the user has not used."""
    return len(session.get_one(User, user_id).recovery_code_hashes or [])


def remove(session: Session, user_id: UUID) -> bool:
    """Let the password alone be enough, and tell the user by mail. Returns whether there was a second factor."""
    user = _locked(session, user_id)
    removed = user.has_second_factor
    user.totp_secret = user.totp_confirmed_at = user.totp_used_step = user.recovery_code_hashes = None
    if removed:
        mail.notify(session, user.email, SecondFactorRemoved(now()))
        record_for_each_tenant(session, "second_factor.removed", user_id)
    session.commit()
    return removed


def _locked(session: Session, user_id: UUID) -> User:
    """The user as they are now, and stay until the transaction ends."""
    statement = select(User).where(User.id == user_id).with_for_update()
    return session.scalars(statement.execution_options(populate_existing=True)).one()


def _use_totp(session: Session, user: User, code: str) -> bool:
    secret = user.totp_secret  # None where it was given up with the master key that it was sealed under
    step = _matching_step(secret, code) if secret is not None else None
    if step is None:
        return False
    unused = or_(User.totp_used_step.is_(None), User.totp_used_step < step)
    same_secret = User.totp_confirmed_at == user.totp_confirmed_at
    using = update(User).where(User.id == user.id, same_secret, unused).values(totp_used_step=step)
    return cast("CursorResult[Any]", session.execute(using)).rowcount == 1


def _use_recovery_code(session: Session, user_id: UUID, code: str) -> bool:
    user = _locked(session, user_id)
    given, left = _hash(code), list(user.recovery_code_hashes or [])
    user.recovery_code_hashes = [stored for stored in left if not hmac.compare_digest(stored, given)]
    session.flush()
    return len(user.recovery_code_hashes) < len(left)


def _matching_step(secret: str, code: str) -> int | None:
    """The newest of the steps around this moment whose code it is."""
    current = int(now().timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret)
    steps = range(current - TOLERANCE, current + TOLERANCE + 1)
    matching = [step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())]
    return max(matching, default=None)


def _set_recovery_codes(user: User) -> list[str]:
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    user.recovery_code_hashes = [_hash(_canonical(code)) for code in codes]
    return codes


def _new_recovery_code() -> str:
    """80 random bits, in Base32 and groups of four."""
    text = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _canonical(code: str) -> str:
    """A code as it is compared: however it was grouped, and in capitals or not."""
    return re.sub(r"[\s-]", "", code).lower()


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
