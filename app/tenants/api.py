"""``/api/members``: the team of the tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from apiflask import APIBlueprint

from app.extensions import db
from app.identity import sessions
from app.identity.access import (
    current_membership,
    current_session,
    current_tenant_id,
    fresh,
    require_owner_or_admin,
)
from app.identity.models import Membership
from app.integrations.schemas import DeleteQuery
from app.limits.budget import costs
from app.pagination import Page, PageQuery
from app.tenants import team
from app.tenants.schemas import MemberChanges, MemberOut

api = APIBlueprint("members", __name__, url_prefix="/api/members", tag="Team")

FORBIDDEN = "The role may not do this: owners change everybody, admins everybody but owners"
CONFLICT = "The member has another version by now, or is the tenant's last owner: nothing was stored"


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[MemberOut], description="A page")
@api.doc(summary="List the members, newest first", responses=[403])
@costs(0)
def list_page(query_data: PageQuery) -> dict[str, Any]:
    require_owner_or_admin()
    items, following = team.list_page(db.session(), current_tenant_id(), query_data)
    return {"items": _shown(items), "next": following}


@api.get("/<uuid:id>")
@api.output(MemberOut, description="As it is now")
@api.doc(summary="Show a member", description="Members see themselves alone.", responses=[403])
@costs(0)
def show(id: UUID) -> MemberOut:
    if id != current_session().membership_id:
        require_owner_or_admin()
    return _shown([team.get(db.session(), current_tenant_id(), id)])[0]


@api.patch("/<uuid:id>")
@fresh
@api.input(MemberChanges, example={"role": "admin", "version": 1})
@api.output(MemberOut, description="As it is now")
@api.doc(
    summary="Change a member's role, or disable a member",
    description="It counts from the next request on; who is disabled is signed out.",
    responses={403: FORBIDDEN, 409: CONFLICT},
)
@costs(0)
def change(id: UUID, json_data: MemberChanges) -> MemberOut:
    changes = json_data.given()
    version = changes.pop("version", None)
    return _shown([team.change(db.session(), current_membership(), id, changes, version)])[0]


@api.delete("/<uuid:id>")
@fresh
@api.input(DeleteQuery, location="query")
@api.output({}, status_code=204, description="Not a member any more; the account stays")
@api.doc(
    summary="Remove a member, or leave",
    description="Everybody may remove themselves, except the tenant's last owner.",
    responses={403: FORBIDDEN, 409: CONFLICT},
)
@costs(0)
def remove(id: UUID, query_data: DeleteQuery) -> tuple[str, int]:
    team.remove(db.session(), current_membership(), id, query_data.version)
    return "", 204


def _shown(members: Sequence[Membership]) -> list[MemberOut]:
    last_seen = sessions.last_used(db.session(), [member.id for member in members])
    names = ("id", "role", "version", "created_at", "updated_at")
    return [
        MemberOut(
            **{name: getattr(member, name) for name in names},
            email=member.user.email,
            disabled=member.disabled_at is not None,
            second_factor=member.user.has_second_factor,
            last_seen_at=last_seen.get(member.id),
        )
        for member in members
    ]
