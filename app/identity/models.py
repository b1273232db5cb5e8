"""Users, their memberships and sessions, how often somebody failed to begin one, and the links that were mailed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Timestamps, UtcTimestamp, Versioned, primary_key
from app.encryption import encrypted
from app.extensions import Model
from app.tenancy import TenantOwned, belongs_to, tenant_key
from app.tenants.models import Tenant


class Role(StrEnum):
    """What a member may do in a tenant: members see calls, admins keep integrations too, owners do everything."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class User(Timestamps, Model):
    """A person who signs in. ``email`` is lower-case; ``password_hash`` is Argon2id in PHC format; who was disabled at
    ``disabled_at`` cannot sign in; ``signed_out_at`` is when they were last signed out everywhere, a sign-in that was
    under way included.

    What the second factor needs, see :mod:`app.identity.second_factor`: totp_secret in Base32, good from
    totp_confirmed_at on; totp_used_step is the newest time step whose code was used; recovery_code_hashes is a list of
    the codes that are left, each as its SHA-256 in hex.
    """

    __tablename__ = "users"

    id: Mapped[UUID] = primary_key()
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    disabled_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    signed_out_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    totp_secret = encrypted("users.totp_secret", owner="id")
    totp_confirmed_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    totp_used_step: Mapped[int | None]
    recovery_code_hashes = encrypted("users.recovery_code_hashes", owner="id", structured=True)
    memberships: Mapped[list[Membership]] = relationship(back_populates="user")

    @property
    def has_second_factor(self) -> bool:
        """Whether signing in takes a code. Decrypts nothing."""
        return self.totp_confirmed_at is not None


class Membership(TenantOwned, Timestamps, Versioned, Model):
    """A user's role in one tenant. Who was disabled there at ``disabled_at`` cannot sign in to it."""

    __tablename__ = "memberships"
    __table_args__ = (
        tenant_key(),
        UniqueConstraint("user_id", "tenant_id"),
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str]
    disabled_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    user: Mapped[User] = relationship(back_populates="memberships")
    tenant: Mapped[Tenant] = relationship()


class Purpose(StrEnum):
    """What the holder of a one-time token may do."""

    RESET_PASSWORD = "reset_password"
    CHANGE_EMAIL = "change_email"


class OneTimeToken(Model):
    """What a link in a mail to a user is good for, once, until ``expires_at``; see :mod:`app.identity.one_time`.

    token_hash: the SHA-256 of the token, which itself is in the mail alone. email: the address that is to be the
    user's, for a change of it.
    """

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        UniqueConstraint("user_id", "purpose"),
        CheckConstraint("purpose IN ('reset_password', 'change_email')", name="purpose"),
        CheckConstraint("(purpose = 'change_email') = (email IS NOT NULL)", name="email"),
    )

    id: Mapped[UUID] = primary_key()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str | None]
    expires_at: Mapped[datetime] = mapped_column(UtcTimestamp())


class SigningKey(Model):
    """A JWT secret that has signed, by its public id; see :mod:`app.identity.signing_keys`."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    first_used_at: Mapped[datetime] = mapped_column(UtcTimestamp())


class UserSession(TenantOwned, Model):
    """A sign-in of a member; see :mod:`app.identity.sessions`. It goes when the membership does.

    refresh_id: the ``jti`` of the one refresh token that is still good. used_at: when it was given out, or, of a
    session that nobody renews, when it was last used, to the minute.
    authenticated_at: when its user last proved who they are, at the sign-in or since; None where an older release of
    ours has not written it down.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        tenant_key(),
        belongs_to("memberships", "membership_id", ondelete="CASCADE"),
        Index(None, "membership_id", "started_at"),
    )

    membership_id: Mapped[UUID]
    refresh_id: Mapped[UUID]
    started_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    used_at: Mapped[datetime] = mapped_column(UtcTimestamp())
    authenticated_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    ended_at: Mapped[datetime | None] = mapped_column(UtcTimestamp())
    address: Mapped[str | None]
    user_agent: Mapped[str]
    membership: Mapped[Membership] = relationship()


class SignInAllowance(Model):
    """How many attempts to sign in to an account have failed since ``began_at``: see :mod:`app.identity.throttle`.

    account: a keyed hash of the e-mail address, which need not be anybody's. network: where they came from, as
    :func:`~app.limits.counting.network_of` tells it, or "anywhere".
    """

    __tablename__ = "sign_in_allowances"

    account: Mapped[str] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    began_at: Mapped[datetime] = mapped_column(UtcTimestamp(), index=True)
