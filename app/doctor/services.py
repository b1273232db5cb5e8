"""What the service depends on besides its database, and what has to be done for it again and again."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent, AuditSeal
from app.backups.service import last_checked_backup
from app.calls import retention
from app.calls.models import Call
from app.config import Settings
from app.database import now
from app.doctor.findings import Finding, failure, ok, warning
from app.limits.counting import REDIS_TIMEOUT_SECONDS
from app.limits.reachable import why_not
from app.mail import service as mail
from app.tenants import team
from app.tenants.models import Tenant

LONGEST_UNCHECKED: Final = timedelta(days=35)
LONGEST_UNSEALED: Final = timedelta(days=2)  # it is to be sealed daily, at the least
LONGEST_KEPT: Final = timedelta(days=2)  # beyond the time: they are to be removed daily
LONGEST_QUEUED: Final = timedelta(hours=1)
MOST_NAMED: Final = 5  # tenants in a line


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Whether it answers us, and nobody else."""
    subject, url, processes = "Redis", settings.redis_url, settings.web_concurrency
    if url is None and processes == 1:
        yield ok(subject, "not needed, one process counts requests")
    elif url is None:
        yield warning(subject, f"{processes} processes count requests each by itself: set REDIS_URL.")
    elif (problem := why_not(url, REDIS_TIMEOUT_SECONDS)) is not None:
        yield failure(subject, f"It does not count ({problem}), and nobody can sign in: see REDIS_URL.")
    elif not url.startswith("unix:") and why_not(_without_password(url), REDIS_TIMEOUT_SECONDS) is None:
        yield failure(subject, "It answers anybody who reaches it: give it a password, and put that into REDIS_URL.")
    elif not url.startswith("rediss://") and not _is_private(url):
        yield failure(subject, "The connection is not encrypted: write rediss:// in REDIS_URL.")
    elif "ssl_cert_reqs=none" in url and not _is_private(url):
        yield warning(subject, "Whoever can divert the connection reads along: REDIS_CERTIFICATE=checked, if you can.")
    else:
        yield ok(subject, "counts for us, and for nobody else on the network")


def check_mail(settings: Settings, session: Session) -> Iterator[Finding]:
    """Whether mails can be sent, and are. In the system's scope."""
    subject = "mail"
    if settings.resend_api_key is None:
        yield warning(subject, "None can be sent: invitations and forgotten passwords are refused. Set RESEND_API_KEY.")
        return
    found = mail.overview(session)
    if found.oldest_queued_at is not None and now() - found.oldest_queued_at > LONGEST_QUEUED:
        yield warning(subject, "Mails wait for more than an hour: run `flask send-mails`, and see `flask mail status`.")
    else:
        yield ok(subject, f"from {settings.mail_from}, {found.counts['queued']} waiting")


def check_audit(session: Session) -> Iterator[Finding]:
    """Whether the trail is sealed again and again. In the system's scope."""
    subject = "audit trail"
    sealed_at = session.scalar(select(func.max(AuditSeal.sealed_at)))
    events = select(func.min(AuditEvent.occurred_at))
    oldest = session.scalar(events if sealed_at is None else events.where(AuditEvent.occurred_at > sealed_at))
    if oldest is not None and now() - oldest > LONGEST_UNSEALED:
        yield warning(subject, "Events of more than two days are not sealed: have `flask audit seal` run every day.")
    else:
        yield ok(subject, "nothing of more than two days is without a seal")


def check_retention(session: Session) -> Iterator[Finding]:
    """Whether old call records go where their tenants do not want to keep them. In the system's scope."""
    subject, missed = "call retention", now() - LONGEST_KEPT
    waiting = []
    kept = retention.expiries(session, missed)
    for expiry in kept:
        records = select(Call.id).where(Call.tenant_id == expiry.tenant_id, Call.started_at < expiry.border)
        tenant = select(Tenant.id).where(Tenant.id == expiry.tenant_id, Tenant.updated_at < missed)
        if session.scalar(select(records.where(Call.received_at < missed).exists() & tenant.exists())):
            waiting.append(expiry.subdomain)
    if waiting:
        yield warning(
            subject,
            f"Call records are kept for longer than {', '.join(waiting)} set: have `flask calls remove-old` run every "
            "day.",
        )
    elif kept:
        yield ok(subject, "no call record is kept for longer than its tenant has set")
    else:
        yield ok(subject, "every tenant keeps its call records for ever")


def check_backup(session: Session) -> Iterator[Finding]:
    """Whether somebody has seen, not long ago, that a backup can be used. In the system's scope."""
    subject = "backups"
    checked = last_checked_backup(session)
    since = checked.at if checked else session.scalar(select(func.min(Tenant.created_at)))
    if since is not None and now() - since > LONGEST_UNCHECKED:
        yield warning(
            subject,
            f"None was checked for more than {LONGEST_UNCHECKED.days} days, so nobody knows whether there is one: run "
            "`flask backup check FILE --record`.",
        )
    elif checked is None:
        yield ok(subject, f"none was checked yet, and there are no tenants of more than {LONGEST_UNCHECKED.days} days")
    elif checked.reached is not None and checked.at - checked.reached > LONGEST_UNCHECKED:
        yield warning(
            subject,
            f"The one that was checked on {checked.at:%Y-%m-%d} has nothing in it that is newer than "
            f"{checked.reached:%Y-%m-%d}: see to it that backups are made, and check the newest.",
        )
    else:
        yield ok(subject, f"one was checked on {checked.at:%Y-%m-%d}, and can be used")


def check_second_factors(session: Session) -> Iterator[Finding]:
    """Whether what a password opens is little: owners may do everything. In the system's scope."""
    subject = "second factors"
    found = team.owners_without_second_factor(session)
    if not found:
        yield ok(subject, "no owner signs in without one")
        return
    owners, tenants = len({user_id for user_id, _ in found}), list(dict.fromkeys(subdomain for _, subdomain in found))
    more = f" and {len(tenants) - MOST_NAMED} more" if len(tenants) > MOST_NAMED else ""
    yield warning(
        subject,
        f"{owners} {'owner signs' if owners == 1 else 'owners sign'} in without a second factor, in "
        f"{', '.join(tenants[:MOST_NAMED])}{more}: each turns one on in the dashboard, under “Your account”.",
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is_private(url: str) -> bool:
    """Whether nobody else is on the way: on this machine, or in a private network."""
    if url.startswith("unix:"):
        return True
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 6379, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(entry[4][0]).is_private for entry in found)
