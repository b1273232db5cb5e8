"""What comes in and goes out of phone systems."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from app.integrations.schemas import Changes, Written
from app.outbound.urls import base_url_of
from app.phone_systems.service import LONGEST_GRACE
from app.phone_systems.vendors import VENDORS
from app.schemas import (
    ChangedBy,
    Input,
    Output,
    PlainText,
    Secret,
    TimeZone,
    Version,
    VersionedRecord,
    not_required,
)


def _known_vendor(name: str) -> str:
    if name not in VENDORS:
        raise ValueError(f"must be one of {', '.join(VENDORS)}")
    return name


def _without_colon(name: str) -> str:
    if ":" in name:  # RFC 7617, section 2: it ends the user name
        raise ValueError("must not contain a colon")
    return name


Vendor = Annotated[str, AfterValidator(_known_vendor), Field(json_schema_extra={"enum": list(VENDORS)})]
BaseUrl = Annotated[PlainText, Field(json_schema_extra={"format": "uri"}), AfterValidator(base_url_of)]
UserName = Annotated[PlainText, AfterValidator(_without_colon)]
PASSWORD_IN: Final = (
    "Signs the PBX in to us; generated if not given. A Yeastar makes it, 32 characters, and signs with it: if it is "
    "not given, deliveries are refused until it is"
)
GeneratedPassword = Annotated[
    str | None,
    Field(
        examples=["pW3k…"],
        description="Shown this once, if it was generated",
        exclude_if=lambda password: password is None,
    ),
]


class PhoneSystemIn(Input):
    name: PlainText = Field(examples=["Head office"], description="For people to tell it from others")
    vendor: Vendor = Field(description="What kind of PBX it is")
    base_url: BaseUrl | None = Field(
        None,
        examples=["https://pbx.acme.example:8089"],
        description="Where the PBX's API is. Changing it removes the stored password, unless it is sent again",
    )
    username: UserName | None = Field(None, examples=["api"], description="Signs us in to the PBX")
    password: Secret | None = Field(None, description="Signs us in to the PBX")
    webhook_username: UserName | None = Field(
        None, examples=["pbx"], description="Signs the PBX in to us; `pbx` if not given"
    )
    webhook_password: Secret | None = Field(None, description=PASSWORD_IN)
    time_zone: TimeZone | None = Field(None, description="Of the PBX's clock; the tenant's if not given")


class PhoneSystemChanges(Changes, PhoneSystemIn):
    name: PlainText = not_required()
    vendor: Vendor = not_required(description="What kind of PBX it is")
    webhook_username: UserName | None = Field(None, examples=["pbx"], description="Signs the PBX in to us")
    webhook_password: Secret | None = Field(
        None, description="Signs the PBX in to us, or is what it signs with; null refuses all deliveries"
    )


class PhoneSystemOut(VersionedRecord):
    name: str = Field(examples=["Head office"])
    vendor: str = Field(examples=["asterisk"], description="What kind of PBX it is")
    base_url: str | None = Field(examples=["https://pbx.acme.example:8089"], description="Where the PBX's API is")
    username: str | None = Field(examples=["api"], description="Signs us in to the PBX")
    password_set: bool = Field(description="Whether there is a password; it is never shown")
    password_changed_at: datetime | None
    password_changed_by: ChangedBy
    webhook_username: str | None = Field(examples=["pbx"], description="Signs the PBX in to us")
    webhook_password_set: bool = Field(
        description="Whether there is a password; without one all deliveries are refused"
    )
    webhook_password_changed_at: datetime | None
    webhook_password_changed_by: ChangedBy
    webhook_password_used_at: datetime | None = Field(
        description="When a delivery first used this password; null: none has yet"
    )
    previous_webhook_password_expires_at: datetime | None = Field(
        description="Until when the password from before is accepted, too; null if it is not"
    )
    webhook_path: str = Field(
        examples=["/hooks/acme/0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a/cdr"],
        description="Where the PBX delivers its call records",
    )
    time_zone: str | None = Field(examples=["Europe/Berlin"], description="Of the PBX's clock; null is the tenant's")


class PhoneSystemWritten(PhoneSystemOut, Written):
    pass


class PhoneSystemCreated(PhoneSystemWritten):
    model_config = ConfigDict(from_attributes=False)  # a stored password must not be read into this by its name

    webhook_password: GeneratedPassword = None

    @classmethod
    def created(cls, row: Any, given: Mapping[str, Any]) -> Self:
        generated = row.webhook_password if given.get("webhook_password") is None else None
        return cls(**PhoneSystemWritten.changed(row, []).model_dump(), webhook_password=generated)


class WebhookPasswordIn(Input):
    password: Secret | None = Field(
        None, description="The new one; generated if not given, but needed where the PBX makes it"
    )
    keep_previous_hours: int = Field(
        24,
        strict=True,
        ge=0,
        le=LONGEST_GRACE // timedelta(hours=1),
        description="How long the password until now is accepted too, while the phone system is changed; 0: not at all",
    )
    version: Version = not_required(
        strict=True,
        description="The version of the phone system that is to be changed: 409 if it has another one by now",
    )


class WebhookPasswordRotated(PhoneSystemOut):
    model_config = ConfigDict(from_attributes=False)  # as above

    webhook_password: GeneratedPassword = None

    @classmethod
    def rotated(cls, row: Any, generated: str | None) -> Self:
        """The answer to a rotation that gave ``row``."""
        return cls(**PhoneSystemOut.model_validate(row).model_dump(), webhook_password=generated)


class RefusalOut(Output):
    first_at: datetime = Field(description="The first of them")
    last_at: datetime = Field(description="The last of them")
    address: str | None = Field(
        examples=["203.0.113.7"], description="The network that they came from: an IPv4 address, or an IPv6 /64"
    )
    count: int = Field(examples=[3], description="How many they were")
    unreadable: str | None = Field(
        examples=["uniqueid is missing"],
        description="What was wrong with what was delivered; null if the credentials were wrong",
    )


class CountsOut(Output):
    records: int = Field(examples=[412], description="Call records that were delivered and stored")
    refused: int = Field(examples=[0], description="Deliveries with wrong credentials")
    unreadable: int = Field(examples=[3], description="Deliveries with the right ones that were not understood")


class HealthOut(Output):
    last_delivery_at: datetime | None = Field(
        description="When the newest call record was delivered; null if there is none"
    )
    last_refusal: RefusalOut | None = Field(
        description="The last deliveries that were refused: their credentials were wrong, or what they brought was not "
        "understood; null if there were none"
    )
    last_24_hours: CountsOut = Field(
        description="How much came; refusals are counted up to an hour later than they came"
    )


class UnreadableDeliveryOut(Output):
    id: UUID
    received_at: datetime = Field(description="When it was delivered")
    content_type: str | None = Field(
        examples=["application/json"], description="As it was delivered; null if there was none"
    )
    size: int | None = Field(
        examples=[212], description="Of the whole body, in bytes; null if it was not read to its end"
    )
    reason: str = Field(examples=["uniqueid is missing"], description="The first thing that is wrong")


class UnreadableErrorOut(Output):
    field: str = Field(examples=["uniqueid"], description="As it was delivered; empty for the delivery as a whole")
    message: str = Field(examples=["is missing"])


class UnreadableDeliveryDetail(UnreadableDeliveryOut):
    errors: list[UnreadableErrorOut] = Field(
        description="All that is wrong, at most 100; empty where the body was not looked at"
    )
    body: str | None = Field(
        examples=["src=100&dst=101"],
        description="The beginning, at most 16 KiB of it, with pictures or numbers in place of what cannot be "
        "seen; null if the key that it was under was forgotten",
    )
    cut: bool = Field(description="Whether there was more of the body")
