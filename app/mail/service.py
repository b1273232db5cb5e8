"""The outbox: a mail is queued in the transaction of whoever has news, sent after its commit, and tried again later.

    queue(session, "ada@acme.example", ResetPassword(token, expires_at))
    session.commit()

Nothing is lost when the provider does not answer or a process dies, and nothing is sent twice: the provider knows a
mail by its id, which is its idempotency key, and every attempt hands over the same bytes.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from flask import Flask, current_app
from sqlalchemy import Connection, delete, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database import now
from app.encryption import EncryptionError
from app.errors import Invalid, Unavailable
from app.extensions import db
from app.mail.delivery import NotSent, Transport, delivery
from app.mail.messages import Message, MessageWithLink, render
from app.mail.models import Mail, MailState

log = logging.getLogger(__name__)

GIVEN_UP_AFTER: Final = timedelta(days=1)  # as long as Resend remembers an idempotency key
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
CLAIM: Final = timedelta(minutes=1)  # longer than an attempt takes; after it another process may try
KEPT: Final = timedelta(days=30)
PROBLEMS_SHOWN: Final = 20
LONGEST_REASON: Final = 300

_QUEUED: Final = "queued mails"  # ids in Session.info
_at_once = threading.BoundedSemaphore(4)  # how many transactions' mails a process sends beside its requests


def queue(session: Session, to: str, message: Message) -> None:
    """Add a mail to the session: it is sent after the commit, and not at all after a rollback.

    Takes the same time whether or not the provider answers. Raises :class:`~app.errors.Invalid` for an address or a
    name that cannot stand in a mail, and :class:`~app.errors.Unavailable` where no mail can be sent at all.
    """
    _transport()
    through = delivery()
    expires_at = now() + GIVEN_UP_AFTER
    if isinstance(message, MessageWithLink):
        expires_at = min(expires_at, message.expires_at)
    # Who it is from is part of the content: with the same key the provider refuses a mail that differs.
    content = {"from": through.sender, "to": _recipient(to), **render(message, through.public_url)}
    mail = Mail(kind=message.kind, content=content, expires_at=expires_at)
    session.add(mail)
    session.flush()
    session.info.setdefault(_QUEUED, []).append(mail.id)


def notify(session: Session, to: str, message: Message) -> None:
    """Like :func:`queue`, for news of a change that must not fail for want of it: the log says why it is not sent."""
    try:
        with session.begin_nested():
            queue(session, to, message)
    except (Unavailable, EncryptionError, IntegrityError, Invalid) as error:
        log.error("a notice is not sent: %s: %s", message.kind, type(error).__name__)


def send_due(session: Session) -> Counter[MailState]:
    """Send what is due, and count what became of it.

    Ends at the first mail that is to be tried again: the provider has trouble, and the rest waits for the next time.
    """
    finished = delete(Mail).where(Mail.state != MailState.QUEUED, Mail.finished_at < now() - KEPT)
    session.execute(finished.execution_options(synchronize_session=False))
    session.commit()
    counts: Counter[MailState] = Counter()
    while MailState.QUEUED not in counts and (mail := _take(session)) is not None:
        counts[_send(session, mail)] += 1
    return counts


@dataclass(frozen=True)
class Overview:
    """How many mails there are in each state, since when the oldest waits, and the newest that came to nothing."""

    counts: dict[str, int]
    oldest_queued_at: datetime | None
    problems: list[Mail]


def overview(session: Session) -> Overview:
    """What an operator wants to know. Opens no mail."""
    counts = {state.value: 0 for state in MailState}
    for state, count in session.execute(select(Mail.state, func.count()).group_by(Mail.state)):
        counts[state] = count
    oldest = session.scalar(select(func.min(Mail.created_at)).where(Mail.state == MailState.QUEUED))
    problems = select(Mail).where(Mail.reason.is_not(None), Mail.state != MailState.SENT)
    newest_first = problems.order_by(Mail.created_at.desc(), Mail.id).limit(PROBLEMS_SHOWN)
    return Overview(counts, oldest, list(session.scalars(newest_first)))


@dataclass(frozen=True)
class Unsent:
    """How many mails wait, were refused or given up, by state; and since when the oldest waits."""

    counts: dict[str, int]
    oldest_queued_at: datetime | None


def unsent(connection: Connection) -> Unsent:
    """What a monitor wants to know every few seconds: it leaves out those that were sent, which may be many."""
    states = [state.value for state in MailState if state is not MailState.SENT]
    counted = select(Mail.state, func.count()).where(Mail.state.in_(states)).group_by(Mail.state)
    oldest = select(func.min(Mail.created_at)).where(Mail.state == MailState.QUEUED)
    counts = dict.fromkeys(states, 0)
    counts.update(connection.execute(counted).all())
    return Unsent(counts, connection.execute(oldest).scalar())


@event.listens_for(db.session, "after_commit")
def _send_at_once(session: Session) -> None:
    """Send what was just committed, beside the request: nobody should wait for the provider, nor learn from how long
    an answer takes whether there was a mail to send. What cannot be sent now is left to `flask send-mails`."""
    if session.in_nested_transaction() or not (mail_ids := session.info.pop(_QUEUED, [])):
        return
    if not _at_once.acquire(blocking=False):
        return
    app: Flask = cast(Any, current_app)._get_current_object()
    try:
        # No daemon: a process that ends waits for it.
        threading.Thread(target=_send_these, args=(app, mail_ids), name="mail").start()
    except RuntimeError:  # no thread can be had, at the very end of a process too: the commit stands all the same
        _at_once.release()


def _send_these(app: Flask, mail_ids: list[UUID]) -> None:
    try:
        with app.app_context():
            for mail_id in mail_ids:
                if (mail := _take(db.session(), mail_id)) is not None:
                    _send(db.session(), mail)
    except Exception as error:  # the database's, say: its text may hold parameters
        log.warning("mail is left for later: %s", type(error).__name__)
    finally:
        _at_once.release()


def _take(session: Session, mail_id: UUID | None = None) -> Mail | None:
    """A mail that is due, or this one if it is, for this process alone until CLAIM has passed."""
    moment = now()
    due = select(Mail).where(Mail.state == MailState.QUEUED, Mail.due_at <= moment)
    if mail_id is not None:
        due = due.where(Mail.id == mail_id)
    # SQLite has no row locks and needs none: its transaction has begun with the write lock.
    due = due.order_by(Mail.due_at).limit(1).with_for_update(skip_locked=True)
    mail = session.scalars(due.execution_options(populate_existing=True)).one_or_none()
    if mail is None:
        session.rollback()
        return None
    mail.due_at = moment + CLAIM
    mail.attempts += 1
    session.commit()
    session.expunge(mail)  # what was taken stays as it was, whatever other processes make of the row
    return mail


def _send(session: Session, mail: Mail) -> MailState:
    """One attempt with a mail that was taken, while no transaction is open. Returns what has become of the mail."""
    content: dict[str, str] = {}
    try:
        content = _content(mail)
        provider_id = _transport().send(str(mail.id), content)
    except NotSent as failure:
        return _note(session, mail, failure, content)
    _finish(session, mail, MailState.SENT, provider_id=provider_id)
    return MailState.SENT


def _content(mail: Mail) -> dict[str, str]:
    if mail.expires_at <= now():
        raise NotSent("it is too late")
    try:
        content: dict[str, str] | None = mail.content
    except EncryptionError as error:
        raise NotSent(str(error)) from None
    if content is None:
        raise NotSent("its content was removed")
    return content


def _note(session: Session, mail: Mail, failure: NotSent, content: dict[str, str]) -> MailState:
    """Refused by the provider, too late to try again, or to be tried again after a pause."""
    reason = f"{failure.kind}: {_redacted(failure.detail, content)}" if failure.detail else failure.kind
    told = (mail.kind, mail.id, failure.kind)
    if failure.final:
        log.error("a mail was refused by the provider: %s %s: %s", *told)
        _finish(session, mail, MailState.REFUSED, reason=reason)
        return MailState.REFUSED
    due_at = now() + min(FIRST_PAUSE * 2 ** min(mail.attempts - 1, 10), LONGEST_PAUSE)
    if due_at >= mail.expires_at:
        log.error("a mail was given up: %s %s: %s", *told)
        _finish(session, mail, MailState.GIVEN_UP, reason=reason)
        return MailState.GIVEN_UP
    log.warning("a mail was not sent and will be tried again: %s %s: %s", *told)
    ours = _still_queued(session, mail)
    if ours is not None and ours.attempts == mail.attempts:  # else it was taken by another process meanwhile
        ours.due_at, ours.reason = due_at, reason
    session.commit()
    return MailState.QUEUED


def _finish(
    session: Session, mail: Mail, state: MailState, *, reason: str | None = None, provider_id: str | None = None
) -> None:
    """Write down the end, and remove the content."""
    ours = _still_queued(session, mail)
    if ours is not None:
        ours.state, ours.finished_at, ours.content = state, now(), None
        ours.reason, ours.provider_id = reason, provider_id
    session.commit()


def _still_queued(session: Session, mail: Mail) -> Mail | None:
    """The mail as it is in the database now, locked until the commit; None if another process has finished it."""
    query = select(Mail).where(Mail.id == mail.id, Mail.state == MailState.QUEUED).with_for_update()
    return session.scalars(query).one_or_none()


def _redacted(detail: str, content: dict[str, str]) -> str:
    """What the provider says, on one line, without what it quotes of the mail: a link, or who it is to."""
    secret = "\n".join(content.get(name, "") for name in ("to", "subject", "text", "html"))

    def shown(run: re.Match[str]) -> str:
        return "…" if run[0] in secret and run[0] not in content["from"] else run[0]

    text = detail.replace(content["to"], "…") if content else detail
    text = re.sub(r"[\w.~-]{12,}", shown, " ".join(text.split()))
    return "".join(character for character in text if character.isprintable())[:LONGEST_REASON]


def _transport() -> Transport:
    transport = delivery().transport
    if transport is None:
        log.error("no mail can be sent: RESEND_API_KEY is not set")
        raise Unavailable("Mail cannot be sent at the moment.")  # what is missing here is nobody's business
    return transport


def _recipient(address: str) -> str:
    """One address, without a name, and nothing that could begin another header. Raises Invalid."""
    try:
        return validate_email(address, check_deliverability=False, globally_deliverable=False).normalized
    except EmailNotValidError:
        message = "must be an e-mail address"
        raise Invalid("The mail cannot be written.", [{"field": "to", "message": message}]) from None
