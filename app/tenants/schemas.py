"""What comes in and goes out of signing up and of a tenant's team."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from app.identity.passwords import LONGEST, SHORTEST
from app.identity.schemas import Password, TenantOut, Token, UserOut
from app.integrations.schemas import Changes
from app.schemas import Country, Input, Output, PlainText, Record, TimeZone, VersionedRecord, not_required

RoleName = Literal["owner", "admin", "member"]

FEWEST_DAYS: Final = 7  # so that nobody loses everything by a digit that is missing
MOST_DAYS: Final = 3650
RetentionDays = Annotated[int, Field(ge=FEWEST_DAYS, le=MOST_DAYS, examples=[365])]


class SignUpIn(Input):
    email: PlainText = Field(examples=["ada@acme.example"])
    tenant_name: PlainText = Field(examples=["Acme Ltd"], description="What the company is called")
    subdomain: PlainText = Field(
        examples=["acme"], description="Up to 63 of a-z, 0-9 and -; part of the addresses that phone systems deliver to"
    )
    time_zone: TimeZone = Field("UTC", description="Of phone systems that have none of their own")


class Confirmation(Token):
    password: Password | None = Field(
        None,
        description=f"{SHORTEST} to {LONGEST:,} characters of any kind, for an address without an account. "
        "Whoever has one keeps its password, and leaves this out",
    )


class SignUpConfirmation(Confirmation):
    subdomain: PlainText | None = Field(
        None, examples=["acme"], description="In place of the one asked for, which somebody else may have by now"
    )


class Joined(Output):
    user: UserOut
    tenant: TenantOut
    role: RoleName = Field(description="What the user is in the tenant")


class TenantChanges(Changes):
    name: PlainText = not_required(examples=["Acme Group"], description="What the company is called")
    time_zone: TimeZone = not_required(
        description="In which days are counted, and phone systems are read that have no time zone of their own; call "
        "records that are stored stay as they are"
    )
    country: Country | None = not_required(
        description="By which numbers without their country's code are read, ISO 3166-1 alpha-2; null for none. Call "
        "records that are stored follow when the operator has them described again"
    )
    call_retention_days: RetentionDays | None = Field(
        None,
        description="For how many days call records are kept: older ones are removed once a day, which cannot be "
        "undone; null for ever. Only owners in person change it, after a fresh sign-in",
    )


class OwnTenantOut(VersionedRecord):
    name: str = Field(examples=["Acme Ltd"], description="What the company is called")
    subdomain: str = Field(
        examples=["acme"], description="Part of the addresses that its phone systems deliver to, so it stays"
    )
    time_zone: str = Field(
        examples=["Europe/Berlin"],
        description="In which days are counted, and phone systems are read that have no time zone of their own",
    )
    country: str | None = Field(
        examples=["DE"], description="By which numbers without their country's code are read; null if it is not known"
    )
    call_retention_days: int | None = Field(
        examples=[365], description="For how many days call records are kept; null for ever"
    )


class InvitationIn(Input):
    email: PlainText = Field(examples=["grace@acme.example"])
    role: RoleName = Field(examples=["member"], description="Admins cannot invite owners")


class InvitationOut(Record):
    email: str = Field(examples=["grace@acme.example"])
    role: RoleName = Field(examples=["member"], description="What whoever accepts it becomes")
    invited_by: str = Field(examples=["ada@acme.example"], description="E-mail address of who made it")
    expires_at: datetime = Field(description="Until when it can be accepted")


class SecretKindOut(Output):
    name: str = Field(examples=["phone_systems.password"])
    label: str = Field(examples=["Phone system passwords"], description="The same for people")
    secrets: int = Field(examples=[3], description="How many of them are stored")
    by_key: dict[str, int] = Field(examples=[{"3f9d2c71": 3}], description="How many under each encryption key, by id")
    oldest_changed_at: datetime | None = Field(description="When the one was set that has not changed for longest")
    newest_changed_at: datetime | None = Field(description="When one was last set")


class EncryptionKeyOut(Output):
    id: str = Field(examples=["3f9d2c71"])
    primary: bool = Field(description="Whether new secrets are encrypted under it")
    registered_at: datetime = Field(description="When the service first used it")
    secrets: int = Field(examples=[3], description="How many of the tenant's secrets are encrypted under it")


class RotationOut(Output):
    from_key_ids: list[str] = Field(examples=[["0b5e6f12"]], description="The keys that were to be replaced")
    to_key_id: str = Field(examples=["3f9d2c71"], description="The key that secrets were encrypted anew under")
    started_at: datetime
    finished_at: datetime | None = Field(description="Null while it is running, or if it was broken off")
    running: bool = Field(description="Whether it is at work now")
    percent: int = Field(examples=[100], description="How much was encrypted anew so far, rounded down")
    proved: bool = Field(description="Whether every secret was found to open under the new key alone")


class EncryptionOut(Output):
    secrets: int = Field(examples=[3], description="How many secrets the tenant has stored")
    kinds: list[SecretKindOut] = Field(description="Which these are")
    keys: list[EncryptionKeyOut] = Field(description="The keys that they are encrypted under, the newest first")
    last_rotation: RotationOut | None = Field(
        description="The last time that all secrets of the service were encrypted under a new key; null for never"
    )


class MemberChanges(Changes):
    role: RoleName = not_required(examples=["admin"], description="Admins neither change owners nor make them")
    disabled: bool = not_required(
        strict=True, examples=[False], description="Whether to keep the member from signing in to this tenant"
    )


class MemberOut(VersionedRecord):
    email: str = Field(examples=["grace@acme.example"])
    role: RoleName = Field(examples=["admin"], description="Owners and admins keep the integrations and the team")
    disabled: bool = Field(examples=[False], description="Whether the member is kept from signing in to this tenant")
    second_factor: bool = Field(description="Whether signing in takes a code too")
    last_seen_at: datetime | None = Field(
        description="When the member last signed in or renewed a session; null if that was long ago, or never"
    )
