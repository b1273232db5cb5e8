"""What comes in and goes out when somebody signs in."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, SecretStr

from app.identity.passwords import LONGEST
from app.schemas import Input, Output, PlainText


class Credentials(Input):
    email: PlainText
    password: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]
    tenant: PlainText | None = Field(None, description="Subdomain of the tenant, for a user who belongs to several")


class AccessToken(Output):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = Field(description="Seconds until the access token expires")


class Tokens(AccessToken):
    refresh_token: str


class UserOut(Output):
    id: UUID
    email: str


class TenantOut(Output):
    id: UUID
    name: str
    subdomain: str
    time_zone: str


class Me(Output):
    user: UserOut
    tenant: TenantOut
    role: Literal["owner", "admin", "member"]
