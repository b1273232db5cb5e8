"""What comes in and goes out of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.pagination import PageQuery
from app.schemas import Output, PlainText, UtcTime, not_required

Outcome = Literal["success", "refused"]


class AuditQuery(PageQuery):
    action: PlainText = not_required(examples=["phone_system.updated"], description="Only this action")
    outcome: Outcome = not_required(description="Only with this outcome")
    actor_id: UUID = not_required(description="Only of this user, API key or phone system")
    object_id: UUID = not_required(description="Only about this object")
    since: UtcTime = not_required(description="Only from this time on")
    until: UtcTime = not_required(description="Only before this time")


class ActorOut(Output):
    type: Literal["user", "api_key", "phone_system", "operator", "anonymous"] = Field(
        description="`operator`: whoever runs the service; `anonymous`: nobody who signed in"
    )
    id: UUID | None = Field(description="Null for operators and the anonymous")
    name: str = Field(examples=["ada@acme.example"], description="As it was then: an address, or what it is called")


class AuditEventOut(Output):
    id: UUID
    occurred_at: datetime = Field(description="When it was done, or counted")
    action: str = Field(examples=["phone_system.updated"], description="What was done: docs/audit.md lists them")
    outcome: Outcome = Field(description="Whether it was done or refused")
    actor: ActorOut = Field(description="Who did it")
    object_id: UUID | None = Field(description="Of what the action is about")
    address: str | None = Field(examples=["203.0.113.7"], description="Where it came from")
    request_id: str | None = Field(examples=["0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a"], description="As in the log")
    count: int = Field(examples=[1], description="How many times, where that is added up by the hour")
    details: dict[str, Any] = Field(
        examples=[{"fields": ["name"]}], description="What else is known, such as which fields were set; never a secret"
    )
