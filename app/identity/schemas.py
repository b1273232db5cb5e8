"""What comes in and goes out when somebody signs in, and of sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, SecretStr

from app.identity.passwords import LONGEST
from app.schemas import Input, Output, PlainText


class Credentials(Input):
    email: PlainText
    password: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]
    tenant: PlainText | None = Field(None, description="Subdomain of the tenant, for a user who belongs to several")


class Tokens(Output):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="Seconds until the access token expires")
    refresh_token: str = Field(description="Good for one use, which gives the next")


class UserOut(Output):
    id: UUID
    email: str


class TenantOut(Output):
    id: UUID
    name: str
    subdomain: str
    time_zone: str


class SessionOut(Output):
    id: UUID
    tenant: TenantOut
    started_at: datetime
    used_at: datetime = Field(description="When it was last renewed")
    address: str | None = Field(description="Where it was started from")
    user_agent: str = Field(description="What it was started with")
    current: bool = Field(description="Whether it is the one that asks")


class Me(Output):
    user: UserOut
    tenant: TenantOut
    role: Literal["owner", "admin", "member"]
