"""The team: its members, and those who are invited."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import BooleanField, EmailField, RadioField

from app.dashboard.forms import Form, VersionedForm, needed, note
from app.dashboard.pages import page_query, page_with, pages_of
from app.dashboard.rendering import show_day
from app.dashboard.views.sign_in import signed_out
from app.errors import Conflict, Forbidden, Invalid, OutdatedVersion, Problem, TooManyRequests, Unavailable
from app.extensions import db
from app.identity import sessions, throttle
from app.identity.access import current_membership, current_session, current_tenant_id, fresh
from app.identity.models import Membership, Role
from app.identity.users import canonical_email
from app.limits.budget import costs
from app.tenants import invitations, team
from app.tenants.schemas import InvitationIn, MemberChanges

pages = pages_of("team_pages", "/team")

ROLES: Final = {
    Role.OWNER: "Owner: may do everything, also change owners and see the encryption",
    Role.ADMIN: "Admin: keeps the organisation's name, phone systems, payment accounts, API credentials, API keys "
    "and the team",
    Role.MEMBER: "Member: sees calls, and nothing else",
}


class InvitationForm(Form):
    email = EmailField("E-mail address", [needed()], render_kw={"autocomplete": "off"})
    role = RadioField("Role", validate_choice=False)


class MemberForm(VersionedForm):
    role = RadioField("Role", validate_choice=False)
    disabled = BooleanField(
        "Disabled",
        description="Signed out at once, and kept from signing in here until that is undone.",
    )


@pages.get("")
@costs(0)
def show_list() -> ResponseReturnValue:
    members, more_members = team.list_page(db.session(), current_tenant_id(), page_query())
    invited, more_invited = invitations.list_page(db.session(), current_tenant_id(), page_query("invited"))
    return render_template(
        "dashboard/team/list.html",
        members=members,
        more_members=more_members,
        invited=invited,
        more_invited=more_invited,
        last_seen=sessions.last_used(db.session(), [member.id for member in members]),
        roles=team.roles_given_by(current_membership()),
    )


@pages.get("/invite")
@fresh
@costs(10)
def ask_whom_to_invite() -> ResponseReturnValue:
    """again: the id of an invitation that is to be made once more."""
    again = request.args.get("again", type=UUID)
    earlier = invitations.get(db.session(), current_tenant_id(), again) if again else None
    wanted = {"email": earlier.email, "role": earlier.role} if earlier else {"role": Role.MEMBER.value}
    return _show_invitation(InvitationForm(data=wanted))


@pages.post("/invite")
@fresh
@costs(100)
def invite() -> ResponseReturnValue:
    form = InvitationForm()
    wanted = form.read(InvitationIn, form.texts("email", "role")) if form.is_sent() else None
    if wanted is None:
        return _show_invitation(form)
    try:
        throttle.count_invitation(current_tenant_id())
        throttle.count_mail(canonical_email(wanted.email), "invitations.create")
        made = invitations.create(db.session(), current_membership(), wanted.email, Role(wanted.role))
    except (Invalid, Conflict, Forbidden, TooManyRequests, Unavailable) as refusal:
        db.session.rollback()
        form.complain(refusal.errors or [{"field": "email", "message": refusal.detail}])
        return _show_invitation(form)[0], refusal.status, dict(refusal.headers)
    note(f"{made.email} is invited. The link in the mail works until {show_day(made.expires_at).striptags()}.")
    return redirect(url_for("team_pages.show_list"), 303)


@pages.get("/invitations/<uuid:id>/take-back")
@fresh
@costs(10)
def ask_before_taking_back(id: UUID) -> ResponseReturnValue:
    return _show_taking_back(id, Form())


@pages.post("/invitations/<uuid:id>/take-back")
@fresh
@costs(10)
def take_back(id: UUID) -> ResponseReturnValue:
    form = Form()
    if not form.is_sent():
        return _show_taking_back(id, form)
    email = invitations.get(db.session(), current_tenant_id(), id).email
    invitations.revoke(db.session(), current_membership(), id)
    note(f"The invitation of {email} is taken back: the link in the mail does nothing any more.")
    return redirect(url_for("team_pages.show_list"), 303)


@pages.get("/members/<uuid:id>")
@fresh
@costs(0)
def edit(id: UUID) -> ResponseReturnValue:
    member = team.get(db.session(), current_tenant_id(), id)
    stored = {"role": member.role, "disabled": member.disabled_at is not None, "version": member.version}
    return _show_member(member, MemberForm(data=stored))


@pages.post("/members/<uuid:id>")
@fresh
@costs(0)
def change(id: UUID) -> ResponseReturnValue:
    form = MemberForm()
    typed = {"role": form.text("role"), "disabled": bool(form.disabled.data)}
    wanted = form.read(MemberChanges, typed) if form.is_sent() else None
    if wanted is None:
        return _show_member(team.get(db.session(), current_tenant_id(), id), form)
    try:
        member = team.change(db.session(), current_membership(), id, wanted.given(), form.sent_version())
    except (Conflict, Forbidden) as refusal:
        return _show_member(_refused(form, id, refusal), form, refusal)[0], refusal.status
    if member.id == current_membership().id and member.disabled_at is not None:
        return signed_out("You are disabled in this organisation now, and signed out.")
    note(f"What you changed about {member.user.email} is saved, and counts from now on.")
    sees_the_team = team.roles_given_by(current_membership())  # or has just given that up
    return redirect(url_for("team_pages.show_list" if sees_the_team else "overview.show"), 303)


@pages.get("/members/<uuid:id>/remove")
@fresh
@costs(0)
def ask_before_removing(id: UUID) -> ResponseReturnValue:
    if id == current_session().membership_id:
        return redirect(url_for("account_pages.show_leave"), 303)
    member = team.get(db.session(), current_tenant_id(), id)
    return _show_removal(member, VersionedForm(data={"version": member.version}))


@pages.post("/members/<uuid:id>/remove")
@fresh
@costs(0)
def remove(id: UUID) -> ResponseReturnValue:
    if id == current_session().membership_id:
        return redirect(url_for("account_pages.show_leave"), 303)
    form = VersionedForm()
    member = team.get(db.session(), current_tenant_id(), id)
    if not form.is_sent():
        return _show_removal(member, form)
    email = member.user.email
    try:
        team.remove(db.session(), current_membership(), id, form.sent_version())
    except (Conflict, Forbidden) as refusal:
        return _show_removal(_refused(form, id, refusal), form, refusal)[0], refusal.status
    note(f"{email} is removed from the team, and signed out.")
    return redirect(url_for("team_pages.show_list"), 303)


def _refused(form: VersionedForm, member_id: UUID, refusal: Problem) -> Membership:
    """The member as it is now, for the form to be shown again beside it, and sent again knowingly."""
    db.session.rollback()
    member = team.get(db.session(), current_tenant_id(), member_id)
    form.version.data = str(member.version)
    if isinstance(refusal, Forbidden):
        form.refuse(refusal)
    return member


def _show_invitation(form: InvitationForm) -> tuple[str, int]:
    form.role.choices = _choices()
    return page_with(form, "dashboard/team/invite.html")


def _show_taking_back(invitation_id: UUID, form: Form) -> tuple[str, int]:
    invitation = invitations.get(db.session(), current_tenant_id(), invitation_id)
    is_allowed = invitation.role in team.roles_given_by(current_membership())
    return page_with(form, "dashboard/team/take_back.html", invitation=invitation, is_allowed=is_allowed)


def _show_member(member: Membership, form: MemberForm, refusal: Problem | None = None) -> tuple[str, int]:
    form.role.choices = _choices()
    return page_with(form, "dashboard/team/member.html", **_facts(member, refusal))


def _show_removal(member: Membership, form: VersionedForm, refusal: Problem | None = None) -> tuple[str, int]:
    return page_with(form, "dashboard/team/remove.html", **_facts(member, refusal))


def _facts(member: Membership, refusal: Problem | None) -> dict[str, Any]:
    """What the pages about one member say."""
    me = current_membership()
    return {
        "member": member,
        "is_me": member.id == me.id,
        "is_allowed": member.role in team.roles_given_by(me),
        "is_last_owner": member.id == me.id and team.is_last_owner(db.session(), member),  # else who looks is one
        "is_outdated": isinstance(refusal, OutdatedVersion),
        "last_seen_at": sessions.last_used(db.session(), [member.id]).get(member.id),
    }


def _choices() -> dict[str, str]:
    """The roles that whoever looks at the page may give."""
    return {role.value: ROLES[role] for role in team.roles_given_by(current_membership())}
