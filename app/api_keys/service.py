"""What can be done with API keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.api_keys.authentication import hash_of, make_key
from app.api_keys.models import ApiKey
from app.audit import service as audit
from app.database import now, uuid7
from app.errors import Invalid, MadeAlready, NotFound
from app.identity.models import Membership, Role, User
from app.mail import service as mail
from app.mail.messages import NewApiKey
from app.pagination import Listing, PageQuery
from app.tenants.models import Tenant


def create(
    session: Session,
    tenant_id: UUID,
    *,
    name: str,
    role: Role,
    expires_at: datetime | None,
    created_by: str,
    key_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """A new API key, and its text, which cannot be had again. The tenant's owners are told by mail.

    created_by: an e-mail address. key_id: the id of the key, drawn lately; without one it gets one.

    Raises :class:`~app.errors.Invalid` for a key that would have expired already, and
    :class:`~app.errors.MadeAlready` where there is one with that id.
    """
    if expires_at is not None and expires_at <= now():
        raise Invalid("The API key cannot be made.", [{"field": "expires_at", "message": "must be in the future"}])
    prefix, text = make_key()
    key = ApiKey(
        id=key_id or uuid7(),
        tenant_id=tenant_id,
        name=name,
        role=role,
        prefix=prefix,
        token_hash=hash_of(text),
        created_by=created_by,
        expires_at=expires_at,
    )
    session.add(key)
    try:
        session.flush()
    except IntegrityError as error:
        if key_id is None:
            raise
        session.rollback()
        raise MadeAlready() from error
    tenant = session.get_one(Tenant, tenant_id)
    news = NewApiKey(tenant_name=tenant.name, key_name=name, made_by=created_by, made_at=now())
    for email in _emails_of_owners(session, tenant_id):
        mail.notify(session, email, news)
    details = {"name": name, "role": role, "expires_at": expires_at.isoformat() if expires_at else None}
    audit.record(session, "api_key.created", object_id=key.id, details=details)
    session.commit()
    return key, text


def list_page(session: Session, tenant_id: UUID, page: PageQuery) -> tuple[list[ApiKey], str | None]:
    """A page of the tenant's API keys, newest first, and the cursor of the next page or None. Decrypts nothing."""
    return Listing(select(ApiKey).where(ApiKey.tenant_id == tenant_id), ApiKey.id).fetch(session, page)


def get(session: Session, tenant_id: UUID, key_id: UUID) -> ApiKey:
    """The API key with that id. Raises :class:`~app.errors.NotFound`."""
    key = session.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.id == key_id)).one_or_none()
    if key is None:
        raise NotFound("There is nothing here under this id.")
    return key


def delete(session: Session, tenant_id: UUID, key_id: UUID) -> None:
    """The next request with the key is refused. Raises :class:`~app.errors.NotFound`."""
    key = get(session, tenant_id, key_id)
    audit.record(session, "api_key.deleted", object_id=key.id, details={"name": key.name})
    session.delete(key)
    session.commit()


def _emails_of_owners(session: Session, tenant_id: UUID) -> list[str]:
    owners = select(User.email).join(User.memberships)
    able = Membership.disabled_at.is_(None), User.disabled_at.is_(None)
    owners = owners.where(Membership.tenant_id == tenant_id, Membership.role == Role.OWNER)
    return list(session.scalars(owners.where(*able)))
