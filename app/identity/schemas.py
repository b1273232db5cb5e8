"""What comes in and goes out when somebody signs in, and of sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field, SecretStr

from app.identity.passwords import LONGEST, SHORTEST
from app.schemas import Input, Output, PlainText

Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST, examples=["…"])]
Code = Annotated[SecretStr, Field(min_length=1, max_length=64, examples=["123456"])]

_ALSO_NEEDED: Final = "Where a second factor is on: of the authenticator app, or a recovery code. Each works once"


LinkToken = Annotated[
    SecretStr,
    Field(max_length=255, examples=["fTqpH2…"], description="From the link in the mail: what stands after its `#`"),
]


class Credentials(Input):
    email: PlainText = Field(examples=["ada@acme.example"])
    password: Password
    code: Code | None = Field(None, description=_ALSO_NEEDED)
    tenant: PlainText | None = Field(
        None, examples=["acme"], description="Subdomain of the tenant, for a user who belongs to several"
    )


class Proof(Input):
    password: Password
    code: Code | None = Field(None, description=_ALSO_NEEDED)


class EmailAddress(Input):
    email: PlainText = Field(examples=["ada@acme.example"])


class NewPassword(Input):
    password: Password = Field(description=f"{SHORTEST} to {LONGEST:,} characters of any kind")


class PasswordChange(NewPassword):
    current_password: Password = Field(description="The one that it replaces")


class Token(Input):
    token: LinkToken


class TokenAndPassword(NewPassword, Token):
    pass


class MailOnItsWay(Output):
    detail: Annotated[str, Field(description="The same in every case")] = "A mail is on its way to this address."


class Tokens(Output):
    access_token: str = Field(examples=["eyJ…"], description="For `Authorization: Bearer …` of all other requests")
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(examples=[900], description="Seconds until the access token expires")
    refresh_token: str = Field(
        examples=["eyJ…"], description="For `POST /api/refresh`, once: each use gives the next refresh token"
    )


class UserOut(Output):
    id: UUID
    email: str = Field(examples=["ada@acme.example"])


class TenantOut(Output):
    id: UUID
    name: str = Field(examples=["Acme Ltd"])
    subdomain: str = Field(examples=["acme"], description="Part of the addresses that its phone systems deliver to")
    time_zone: str = Field(examples=["Europe/Berlin"], description="Of phone systems that have none of their own")


class SessionOut(Output):
    id: UUID
    tenant: TenantOut
    started_at: datetime
    used_at: datetime = Field(description="When it was last renewed, or, in a browser, used, to the minute")
    address: str | None = Field(examples=["203.0.113.7"], description="Where it was started from")
    user_agent: str = Field(examples=["curl/8.14"], description="What it was started with")
    current: bool = Field(description="Whether it is the one that asks")


class Me(Output):
    user: UserOut
    tenant: TenantOut
    role: Literal["owner", "admin", "member"] = Field(description="Owners and admins keep the integrations")
    membership_id: UUID = Field(description="For `DELETE /api/members/{id}`: to leave the tenant")
    second_factor: bool = Field(description="Whether signing in takes a code of the user")


class Confirmation(Input):
    code: Code = Field(description="What the authenticator app shows now")


class SecondFactorOut(Output):
    on: bool = Field(description="Whether signing in takes a code")
    since: datetime | None = Field(description="When it was confirmed")
    recovery_codes_left: int = Field(examples=[10], description="How many recovery codes were not used yet")


class EnrolmentOut(Output):
    secret: str = Field(
        examples=["JBSWY3DPEHPK3PXP…"], description="For the authenticator app, to be typed. Shown this once"
    )
    uri: str = Field(
        examples=["otpauth://totp/AudiaPro:ada%40acme.example?secret=…&issuer=AudiaPro"],
        description="The same for a link that opens the app",
    )
    qr_code: str = Field(
        examples=["data:image/svg+xml;charset=utf-8,…"], description="The same as a picture, to be scanned"
    )


class RecoveryCodes(Output):
    recovery_codes: list[str] = Field(
        examples=[["k7qm-2vxa-zt5e-w3hd"]],
        description="Each is good once, in place of a code of the app. Shown this once",
    )
