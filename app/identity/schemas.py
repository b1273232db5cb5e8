"""What comes in and goes out when somebody signs in, and of sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, SecretStr

from app.identity.passwords import LONGEST, SHORTEST
from app.schemas import Input, Output, PlainText

Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST, examples=["…"])]


LinkToken = Annotated[
    SecretStr,
    Field(max_length=255, examples=["fTqpH2…"], description="From the link in the mail: what stands after its `#`"),
]


class Credentials(Input):
    email: PlainText = Field(examples=["ada@acme.example"])
    password: Password
    tenant: PlainText | None = Field(
        None, examples=["acme"], description="Subdomain of the tenant, for a user who belongs to several"
    )


class Proof(Input):
    password: Password


class EmailAddress(Input):
    email: PlainText = Field(examples=["ada@acme.example"])


class NewPassword(Input):
    password: Password = Field(description=f"{SHORTEST} to {LONGEST:,} characters of any kind")


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
    used_at: datetime = Field(description="When it was last renewed")
    address: str | None = Field(examples=["203.0.113.7"], description="Where it was started from")
    user_agent: str = Field(examples=["curl/8.14"], description="What it was started with")
    current: bool = Field(description="Whether it is the one that asks")


class Me(Output):
    user: UserOut
    tenant: TenantOut
    role: Literal["owner", "admin", "member"] = Field(description="Owners and admins keep the integrations")
