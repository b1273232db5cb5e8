"""Invitations: for owners and admins; and accepting one, for whoever has the link."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.extensions import db
from app.identity import throttle
from app.identity.access import current_membership, current_tenant_id, fresh
from app.identity.models import Role
from app.identity.users import canonical_email
from app.limits.budget import costs
from app.limits.counting import limited
from app.limits.limit import Limit
from app.pagination import Page, PageQuery
from app.tenants import invitations
from app.tenants.models import Invitation
from app.tenants.schemas import Confirmation, InvitationIn, InvitationOut, Joined

api = APIBlueprint("invitations", __name__, url_prefix="/api/invitations", tag="Team")
acceptance = APIBlueprint("acceptance", __name__, url_prefix="/api/invitations/accept", tag="Team")


@api.post("")
@fresh
@api.input(InvitationIn)
@api.output(InvitationOut, status_code=201, description="As it is stored now; a mail is on its way")
@api.doc(
    summary="Invite somebody to the team",
    description="Inviting an address again replaces the invitation: the earlier link is void.",
    responses={
        403: "The role may not do this: only owners invite owners, or invite those again",
        409: "Whoever has this address is a member already",
        429: "Too many mails to this address, or too many invitations of the tenant",
    },
)
@costs(100)
def create(json_data: InvitationIn) -> tuple[InvitationOut, dict[str, str]]:
    throttle.count_invitation(current_tenant_id())
    throttle.count_mail(canonical_email(json_data.email))
    invitation = invitations.create(db.session(), current_membership(), json_data.email, Role(json_data.role))
    return _shown(invitation), {"Location": url_for("invitations.show", id=invitation.id)}


@api.get("")
@api.input(PageQuery, location="query")
@api.output(Page[InvitationOut], description="A page")
@api.doc(summary="List the invitations that were not accepted yet, newest first")
@costs(20)
def list_page(query_data: PageQuery) -> dict[str, Any]:
    items, following = invitations.list_page(db.session(), current_tenant_id(), query_data)
    return {"items": [_shown(item) for item in items], "next": following}


@api.get("/<uuid:id>")
@api.output(InvitationOut, description="As it is now")
@api.doc(summary="Show an invitation")
@costs(10)
def show(id: UUID) -> InvitationOut:
    return _shown(invitations.get(db.session(), current_tenant_id(), id))


@api.delete("/<uuid:id>")
@fresh
@api.output({}, status_code=204, description="It is gone: its link is void")
@api.doc(
    summary="Take an invitation back",
    responses={403: "The role may not do this: only owners take back an invitation of an owner"},
)
@costs(10)
def revoke(id: UUID) -> tuple[str, int]:
    invitations.revoke(db.session(), current_membership(), id)
    return "", 204


@acceptance.post("")
@limited(Limit.ACCOUNT_TOKEN)
@acceptance.input(Confirmation)
@acceptance.output(Joined, description="Who can sign in to the tenant now, and as what")
@acceptance.doc(
    summary="Accept an invitation with the token of its link",
    description="The invited address becomes the account, or is one already.",
    responses={
        409: "The address was made a member, or a user, meanwhile",
        422: "The link is not valid any more, or the password is missing, superfluous or cannot be used",
        429: "Too many attempts",
    },
)
def accept(json_data: Confirmation) -> Joined:
    given = json_data.given()
    return Joined.model_validate(invitations.accept(db.session(), given["token"], given.get("password")))


def _shown(invitation: Invitation) -> InvitationOut:
    names = ("id", "email", "role", "expires_at", "created_at", "updated_at")
    return InvitationOut(
        **{name: getattr(invitation, name) for name in names}, invited_by=invitation.invited_by.user.email
    )
