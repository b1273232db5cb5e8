"""Making tenants, and changing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.database import now
from app.errors import Conflict, Invalid, NotFound, OutdatedVersion
from app.identity import signing_out, users
from app.identity.models import Membership, Role
from app.schemas import PlainText, TimeZone
from app.tenants.models import Tenant

_NAME: Final[TypeAdapter[str]] = TypeAdapter(PlainText)
_TIME_ZONE: Final[TypeAdapter[str]] = TypeAdapter(TimeZone)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a label of RFC 1123, section 2.1

# What the service itself is or may be reached by, and names that would pass for its own.
RESERVED_SUBDOMAINS: Final = frozenset(
    """
    www www1 www2 api admin administrator hooks webhook webhooks app apps dashboard account accounts auth login logout
    signin signup sign-in sign-up register oauth sso mail email smtp imap pop pop3 mx webmail autoconfig autodiscover
    static assets cdn media img images files download downloads upload uploads docs doc help support status health
    healthz readyz metrics monitor monitoring blog news about legal terms privacy security abuse postmaster hostmaster
    webmaster root system internal localhost local dev test testing stage staging beta preview prod production
    ftp sftp ssh vpn git ns ns1 ns2 ns3 dns db database redis billing pay payment payments shop store audiapro platform
    """.split()  # noqa: SIM905
)


def create_tenant(
    session: Session, *, name: str, subdomain: str, time_zone: str, owner_email: str, read_password: Callable[[], str]
) -> Membership:
    """A new tenant, and the membership of its owner.

    time_zone: an IANA name. read_password: called, after everything else was found to be in order, when the owner is a
    new user; an existing one keeps the password.

    Raises :class:`~app.errors.Invalid`, and :class:`~app.errors.Conflict` when the subdomain is taken.
    """
    tenant = checked_tenant(name, subdomain, time_zone)
    if subdomain_taken(session, tenant.subdomain):
        raise Conflict("This subdomain is taken.")
    owner = users.find_user(session, owner_email)
    if owner is None:
        session.rollback()  # whoever types a password takes their time: nobody should wait for this transaction
        owner = users.add_user(session, owner_email, read_password(), tenant.subdomain)
    membership = users.add_membership(session, owner, tenant, Role.OWNER)
    try:
        session.flush()
        record_created(session, tenant, owner.email)
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Conflict("The subdomain or the e-mail address was taken in this very moment.") from None
    return membership


def checked_tenant(name: str, subdomain: str, time_zone: str) -> Tenant:
    """A new tenant, in no session yet. Raises :class:`~app.errors.Invalid`."""
    return Tenant(
        name=_checked("name", _NAME, name),
        subdomain=_check_subdomain(subdomain),
        time_zone=_checked("time_zone", _TIME_ZONE, time_zone),
    )


def subdomain_taken(session: Session, subdomain: str) -> bool:
    """Whether a tenant has it. To be asked in a scope that sees all of them."""
    return session.scalar(select(Tenant.id).where(Tenant.subdomain == subdomain)) is not None


def record_created(session: Session, tenant: Tenant, owner: str) -> None:
    """Record that a tenant, which is in the database by now, was made for the owner of that e-mail address."""
    details = {"name": tenant.name, "subdomain": tenant.subdomain, "owner": owner}
    audit.record(session, "tenant.created", object_id=tenant.id, tenant_id=tenant.id, details=details)


def get(session: Session, tenant_id: UUID, *, to_change: bool = False) -> Tenant:
    """A tenant; with ``to_change`` as it is now, also where it was read before, and nobody else changes it until the
    transaction ends. Raises :class:`~app.errors.NotFound`."""
    statement = select(Tenant).where(Tenant.id == tenant_id)
    if to_change:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    tenant = session.scalars(statement).one_or_none()
    if tenant is None:
        raise NotFound("There is nothing here under this id.")
    return tenant


def change(session: Session, tenant_id: UUID, changes: Mapping[str, Any], version: int | None = None) -> Tenant:
    """A tenant with ``changes`` made: ``name``; ``time_zone``, an IANA name; ``country``, ISO 3166-1 alpha-2 or None;
    ``call_retention_days``, None for ever. Days and times are counted and shown in the zone from then on, and phone
    systems without one of their own are read in it; records that are stored stay the moments that they are. Their
    numbers are read by the country from then on, those that are stored when
    :func:`~app.calls.parties.describe_again` is called. What changes nothing is not recorded.

    version: the one that the sender read, or None for whichever it is.

    Raises :class:`~app.errors.NotFound` and, for another version, :class:`~app.errors.Conflict`.
    """
    tenant = get(session, tenant_id, to_change=True)
    if version not in (None, tenant.version):
        raise OutdatedVersion()
    details: dict[str, Any] = {}
    for name, value in changes.items():
        if value != getattr(tenant, name):
            details |= {name: value, f"previous_{name}": getattr(tenant, name)}
            setattr(tenant, name, value)
    if details:
        audit.record(session, "tenant.changed", object_id=tenant.id, details=details)
    session.commit()
    return tenant


def set_suspended(session: Session, subdomain: str, suspended: bool) -> None:
    """Keep everybody from signing in to a tenant and its phone systems from delivering, and end its sessions; or let
    them in again. Raises :class:`~app.errors.NotFound`."""
    tenant = users.get_tenant(session, subdomain)
    session.refresh(tenant, with_for_update=True)  # its own people may be changing it
    tenant.suspended_at = (tenant.suspended_at or now()) if suspended else None
    audit.record(
        session, f"tenant.{'suspended' if suspended else 'readmitted'}", object_id=tenant.id, tenant_id=tenant.id
    )
    if suspended:
        signing_out.end_of_tenant(session, tenant.id)
    session.commit()


def any_tenant(session: Session) -> bool:
    """Whether there is a tenant at all."""
    return session.scalar(select(Tenant.id).limit(1)) is not None


def time_zone_of(session: Session, tenant_id: UUID) -> ZoneInfo:
    """The time zone in which a tenant reads times and counts days."""
    return ZoneInfo(session.execute(select(Tenant.time_zone).where(Tenant.id == tenant_id)).scalar_one())


def country_of(session: Session, tenant_id: UUID) -> str | None:
    """The country whose numbers a tenant dials, ISO 3166-1 alpha-2; None if it is not known."""
    return session.execute(select(Tenant.country).where(Tenant.id == tenant_id)).scalar_one()


def countries_of(session: Session, tenant_id: UUID | None) -> list[tuple[UUID, str | None]]:
    """The ids and countries of that tenant, or of all, in the order of their ids."""
    statement = select(Tenant.id, Tenant.country).order_by(Tenant.id)
    if tenant_id is not None:
        statement = statement.where(Tenant.id == tenant_id)
    return [(row.id, row.country) for row in session.execute(statement)]


def _check_subdomain(subdomain: str) -> str:
    if not _SUBDOMAIN.fullmatch(subdomain) or subdomain.startswith("xn--"):
        raise _invalid("subdomain", "must be 1 to 63 of a-z, 0-9 and -, with no - at either end, and not begin xn--")
    if subdomain in RESERVED_SUBDOMAINS:
        raise _invalid("subdomain", "is reserved")
    return subdomain


def _checked(field: str, kind: TypeAdapter[str], value: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise _invalid(field, error.errors()[0]["msg"]) from None


def _invalid(field: str, message: str) -> Invalid:
    return Invalid("The tenant cannot be created.", [{"field": field, "message": message}])
