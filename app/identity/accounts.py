"""Password and e-mail address of a user, and the links by which they are set. No password is hashed while a transaction
is open: it takes long, and nobody should have to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, Uuid, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.actors import Actor, act_as
from app.database import UtcTimestamp, now, uuid7
from app.errors import Conflict, Invalid
from app.identity import signing_out, throttle
from app.identity.authentication import authenticate, require_unchanged
from app.identity.models import Membership, OneTimeToken, Purpose, User
from app.identity.one_time import LinkNotValid, fingerprint, new_token, void_tokens
from app.identity.passwords import hash_password
from app.identity.trail import record_for_each_tenant
from app.identity.users import canonical_email, get_user
from app.mail import service as mail
from app.mail.messages import (
    EmailChanged,
    EmailChangeRequested,
    Message,
    NoAccount,
    PasswordChanged,
    ResetPassword,
    VerifyEmail,
)
from app.tenancy import system_scope
from app.tenants.models import Tenant

RESET_EXPIRES: Final = timedelta(hours=1)
EMAIL_CHANGE_EXPIRES: Final = timedelta(days=1)


def request_reset(session: Session, email: str) -> None:
    """Mail a link to set a new password, in place of an earlier one; or, where no account has that address, that there
    is none. Both take the same statements, and so the same time.

    Raises :class:`~app.errors.Invalid` for what is no address, and :class:`~app.errors.Unavailable`.
    """
    email, token, expires_at = canonical_email(email), new_token(), now() + RESET_EXPIRES
    account = select(User.id).where(User.email == email, User.disabled_at.is_(None))
    known = session.scalar(account.with_for_update()) is not None
    message: Message = ResetPassword(token, expires_at) if known else NoAccount(now())
    _give_token(session, account, Purpose.RESET_PASSWORD, token, None, RESET_EXPIRES)
    mail.queue(session, email, message)
    session.commit()


def reset_password(session: Session, token: str, password: str, address: str | None) -> None:
    """Set the password of the user to whom ``token`` was mailed, and end all sessions of the user. A second factor
    stays; failures to sign in are forgiven.

    address: of the client. Raises :class:`LinkNotValid` and :class:`~app.errors.Invalid`.
    """
    email = look_up_reset(session, token)
    subdomains = _subdomains(session, email)
    session.rollback()
    password_hash = hash_password(password, email=email, subdomains=subdomains)
    user_id, _ = _use_token(session, token, Purpose.RESET_PASSWORD)
    throttle.forgive(session, email, address)
    _replace_password(session, user_id, password_hash, "password.reset")


def look_up_reset(session: Session, token: str) -> str:
    """The address of the user to whom ``token`` was mailed to set a new password. Uses nothing up, and ends the
    transaction. Raises :class:`LinkNotValid`."""
    return _look_up(session, token, Purpose.RESET_PASSWORD).email


def change_password(
    session: Session, membership: Membership, attempt: throttle.Attempt, current: str, password: str, keep: UUID
) -> None:
    """Set the password of a member's account in place of the ``current`` one, and end its sessions except the one with
    the id ``keep``.

    Raises :class:`~app.errors.Unauthenticated` and :class:`~app.errors.TooManyRequests` as
    :func:`~app.identity.authentication.authenticate` does, and :class:`~app.errors.Invalid`.
    """
    verified = authenticate(session, attempt, current)
    password_hash = hash_password(password, email=membership.user.email, subdomains=[membership.tenant.subdomain])
    require_unchanged(session, verified)
    attempt.succeeded(session)
    _replace_password(session, membership.user_id, password_hash, "password.changed", keep)


def set_password(session: Session, email: str, read_password: Callable[[], str]) -> None:
    """Replace a user's password by what ``read_password`` gives, called only if there is such a user, and end the
    user's sessions. Raises :class:`~app.errors.NotFound` and :class:`~app.errors.Invalid`."""
    user_id, email = get_user(session, email).id, canonical_email(email)
    subdomains = _subdomains(session, email)
    session.rollback()  # whoever types a password takes their time
    password_hash = hash_password(read_password(), email=email, subdomains=subdomains)
    _replace_password(session, user_id, password_hash, "password.changed")


def request_email_change(session: Session, user_id: UUID, email: str) -> None:
    """Mail a link to ``email`` that makes it the user's address, in place of an earlier link, and tell the address that
    is the user's until then. Whether another account has the new one is told to nobody but who gets that mail.

    Raises :class:`~app.errors.Invalid` for what is no address, or the user's already, and
    :class:`~app.errors.Unavailable`.
    """
    email, token, account = canonical_email(email), new_token(), select(User.id).where(User.id == user_id)
    present = str(session.scalar(select(User.email).where(User.id == user_id).with_for_update()))
    if present == email:
        message = "is your address already"
        raise Invalid("The e-mail address cannot be changed to this one.", [{"field": "email", "message": message}])
    _give_token(session, account, Purpose.CHANGE_EMAIL, token, email, EMAIL_CHANGE_EXPIRES)
    mail.queue(session, email, VerifyEmail(token, now() + EMAIL_CHANGE_EXPIRES))
    mail.notify(session, present, EmailChangeRequested(email, now()))
    audit.record(session, "email_change.requested", object_id=user_id, details={"email": email})
    session.commit()


def change_email(session: Session, token: str) -> None:
    """Give the user who asked for it the address that ``token`` was mailed to. The former address hears of it, links
    that were mailed to it are void, and sessions go on.

    Raises :class:`LinkNotValid`, and :class:`~app.errors.Conflict` when another account has that address.
    """
    user_id, email = _use_token(session, token, Purpose.CHANGE_EMAIL)
    former = session.scalar(select(User.email).where(User.id == user_id).with_for_update())
    try:
        session.execute(update(User).where(User.id == user_id).values(email=email))
    except IntegrityError:
        session.rollback()
        raise Conflict("Another account has this e-mail address.") from None
    void_tokens(session, OneTimeToken.user_id == user_id)
    mail.notify(session, str(former), EmailChanged(now()))
    record_for_each_tenant(session, "email.changed", user_id, {"from": former, "to": email})
    session.commit()


class EmailChange(NamedTuple):
    """The address that a user has, and the one that it is to be changed to."""

    present: str
    new: str


def look_up_email_change(session: Session, token: str) -> EmailChange:
    """What :func:`change_email` would do. Uses nothing up, and ends the transaction. Raises :class:`LinkNotValid`."""
    found = _look_up(session, token, Purpose.CHANGE_EMAIL)
    return EmailChange(found.email, str(found.new_email))


def has_account(session: Session, email: str) -> bool:
    """Whether there is an account with that address, to tell whoever has shown that it is theirs. Ends the transaction.

    Raises :class:`LinkNotValid` for a user who is disabled.
    """
    found = session.execute(select(User.disabled_at).where(User.email == email)).one_or_none()
    session.rollback()
    if found is not None and found.disabled_at is not None:
        raise LinkNotValid
    return found is not None


def prepare_account(email: str, has_account: bool, password: str | None, subdomain: str) -> str | None:
    """The hash of the password with which whoever has confirmed ``email`` begins, or None for somebody who has an
    account, and keeps its password. Takes long: no transaction should be open.

    has_account: as the function of that name tells it. subdomain: of the tenant that the account is for.
    Raises :class:`~app.errors.Invalid` for a password that is missing, or too much, or cannot be used.
    """
    if has_account:
        if password is not None:
            raise _password_problem("must be left out: there is an account with this address, which keeps its password")
        return None
    if password is None:
        raise _password_problem("is needed: there is no account with this address yet")
    return hash_password(password, email=email, subdomains=[subdomain])


def open_account(session: Session, email: str, password_hash: str | None) -> User:
    """The user with that address: a new one, not committed yet, if there is a ``password_hash``, as
    :func:`prepare_account` gives it."""
    if password_hash is None:
        return get_user(session, email)
    user = User(email=email, password_hash=password_hash)
    session.add(user)
    return user


def _password_problem(message: str) -> Invalid:
    return Invalid("The request does not fit the account.", [{"field": "password", "message": message}])


def _subdomains(session: Session, email: str) -> Sequence[str]:
    """Of the tenants that the account belongs to."""
    found = select(Tenant.subdomain).join(Membership, Membership.tenant_id == Tenant.id).join(Membership.user)
    with system_scope():  # they may be several, and a link in a mail is of none
        return session.scalars(found.where(User.email == email)).all()


def _replace_password(
    session: Session, user_id: UUID, password_hash: str, action: str, keep: UUID | None = None
) -> None:
    """Commits. Whoever had asked for a link before may not be the user: those are void, too."""
    replaced = update(User).where(User.id == user_id).values(password_hash=password_hash).returning(User.email)
    email = session.scalars(replaced.execution_options(synchronize_session=False)).one()
    void_tokens(session, OneTimeToken.user_id == user_id)
    mail.notify(session, email, PasswordChanged(now()))
    record_for_each_tenant(session, action, user_id, {"sessions_ended": signing_out.end_others(session, user_id, keep)})
    session.commit()


def _give_token(
    session: Session,
    account: Select[UUID],
    purpose: Purpose,
    token: str,
    email: str | None,
    expires: timedelta,
) -> None:
    """Store a token for the user whose id ``account`` selects, in place of an earlier one; and none where it selects
    none, by the same statements. Forgets expired ones."""
    expired = OneTimeToken.expires_at <= now()
    earlier = (OneTimeToken.purpose == purpose) & OneTimeToken.user_id.in_(account)
    session.execute(delete(OneTimeToken).where(or_(expired, earlier)).execution_options(synchronize_session=False))
    row = account.add_columns(
        literal(uuid7(), Uuid()),
        literal(purpose.value, String()),
        literal(fingerprint(token), String()),
        literal(email, String()),
        literal(now() + expires, UtcTimestamp()),
    )
    columns = ["user_id", "id", "purpose", "token_hash", "email", "expires_at"]
    session.execute(insert(OneTimeToken).from_select(columns, row))


def _good(token: str, purpose: Purpose) -> tuple[ColumnElement[bool], ...]:
    """What finds the row of a token that can still be used."""
    able = select(User.id).where(User.disabled_at.is_(None))
    return (
        OneTimeToken.token_hash == fingerprint(token),
        OneTimeToken.purpose == purpose,
        OneTimeToken.expires_at > now(),
        OneTimeToken.user_id.in_(able),
    )


class _Behind(NamedTuple):
    """Whose a token is, and the address that it is about, if it is about one."""

    user_id: UUID
    email: str
    new_email: str | None


def _behind(token: str, purpose: Purpose) -> Select[UUID, str, str | None]:
    """Selects what :class:`_Behind` holds, of a token that can still be used."""
    new_email = OneTimeToken.email.label("new_email")
    found = select(User.id, User.email, new_email).join(OneTimeToken, OneTimeToken.user_id == User.id)
    return found.where(*_good(token, purpose))


def _look_up(session: Session, token: str, purpose: Purpose) -> _Behind:
    """Ends the transaction. Raises :class:`LinkNotValid`."""
    found = session.execute(_behind(token, purpose)).one_or_none()
    session.rollback()
    if found is None:
        raise LinkNotValid
    return _Behind._make(found)


def _use_token(session: Session, token: str, purpose: Purpose) -> tuple[UUID, str | None]:
    """Use the token up: the id of its user, who is the one that acts from here on, and the address that it is about.
    Raises :class:`LinkNotValid`."""
    # The user is locked before the token, as everywhere: else two might wait for each other.
    user = session.execute(_behind(token, purpose).with_for_update(of=User)).one_or_none()
    used = delete(OneTimeToken).where(*_good(token, purpose)).returning(OneTimeToken.email)
    found = session.execute(used.execution_options(synchronize_session=False)).one_or_none()
    if user is None or found is None:
        session.rollback()
        raise LinkNotValid
    act_as(Actor("user", user.id, user.email))
    return user.id, found.email
