"""The pages of the team."""

import re
from functools import partial

import pytest
from limits import parse
from sqlalchemy import select, update

from app.dashboard.access import OF_ANOTHER_SITE
from app.extensions import db
from app.identity.models import Membership, Role, User
from app.limits.limit import Limit
from app.tenants.models import Invitation, Tenant
from tests.conftest import PASSWORD, in_database
from tests.mail.mailbox import mailbox, settings
from tests.one_time import expire, grow_stale, statements
from tests.test_versions import all_at_once

__all__ = ["mailbox", "settings"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DORA = "dora@acme.example"
CANARY = "<script>alert(1)</script>{{7*7}}=1+1"


@pytest.fixture(autouse=True)
def mails_arrive(mailbox):
    """Whoever is invited gets one."""


def set_membership(app, person, **values):
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == person.user_id).values(**values))
        db.session.commit()


def membership_of(app, person):
    with in_database(app):
        found = select(Membership.id, Membership.role, Membership.disabled_at, Membership.version)
        return db.session.execute(found.where(Membership.user_id == person.user_id)).one_or_none()


def path(app, person):
    return f"/team/members/{membership_of(app, person).id}"


def invite(visitor, email=DORA, role="member", status=200):
    page = visitor.open("/team/invite")
    return visitor.send(page, "Send the invitation", status, email=email, role=role)


@on_sqlite
def test_owners_and_admins_see_the_team_and_nobody_else_does(app, visitor, alice, bob, alice_visits, bob_visits):
    page = alice_visits.open("/team")
    assert page.title == "Team"
    assert page.all("tbody tr td:first-child") == [bob.email, f"{alice.email} (you)"]
    assert page.all("tbody tr td:nth-child(2)") == ["member", "owner"]
    assert page.all("tbody tr td:nth-child(3)") == ["off", "off"]
    assert "Nobody is invited at the moment." in page.text
    bob_visits.open("/team", 403)
    assert visitor.open("/team").title == "Sign in"
    set_membership(app, bob, role="admin")
    assert bob_visits.open("/team").title == "Team"


@on_sqlite
def test_nobody_sees_or_changes_the_team_of_another_organisation(app, alice, bob, alice_visits, charlie_visits):
    invite(alice_visits)
    with in_database(app):
        invitation = db.session.scalars(select(Invitation.id)).one()
    page = charlie_visits.open("/team")
    assert alice.email not in page.text
    assert DORA not in page.text
    for address in (
        path(app, bob),
        f"{path(app, bob)}/remove",
        f"/team/invitations/{invitation}/take-back",
        f"/team/invite?again={invitation}",
    ):
        charlie_visits.open(address, 404)
    own = charlie_visits.open("/team/invite").values("Send the invitation")
    for address in (path(app, bob), f"{path(app, bob)}/remove", f"/team/invitations/{invitation}/take-back"):
        sent = own | {"role": "owner", "version": "1"}
        answer = charlie_visits.client.post(address, data=sent, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 404
    assert membership_of(app, bob)[1:] == ("member", None, 1)


@on_sqlite
def test_somebody_is_invited_and_waits_in_the_list(alice, alice_visits, mailbox):
    page = invite(alice_visits, f"  {DORA.upper()} ", "admin")
    assert (page.address, page.title) == ("/team", "Team")
    assert page.messages.startswith(f"{DORA} is invited. The link in the mail works until ")
    assert page.all("tbody tr td")[-5:-2] == [DORA, "admin", alice.email]
    assert mailbox.subjects(DORA) == ["“Acme” invites you to AudiaPro"]


@on_sqlite
def test_inviting_again_begins_with_what_was_chosen_and_replaces_the_invitation(app, alice_visits, mailbox):
    page = invite(alice_visits, role="admin")
    first = mailbox.token(DORA)
    expire(app, Invitation)
    page = alice_visits.open("/team")
    assert page.all(".badge")[-1] == "expired"
    (again,) = [link["href"] for link in page.soup.select("a") if link.get_text() == "Invite again"]
    page = alice_visits.open(again)
    assert page.values("Send the invitation").items() >= {"email": DORA, "role": "admin"}.items()
    page = alice_visits.send(page, "Send the invitation", role="member")
    assert page.all("tbody tr td").count(DORA) == 1
    assert "expired" not in page.text
    assert mailbox.token(DORA) != first


@on_sqlite
@pytest.mark.parametrize(
    ("typed", "status", "field", "said"),
    [
        ({"email": "", "role": "member"}, 422, "email", "Please fill this in."),
        ({"email": "nobody", "role": "member"}, 422, "email", "This must be an e-mail address."),
        ({"email": CANARY, "role": "member"}, 422, "email", "This must be an e-mail address."),
        ({"email": DORA, "role": None}, 422, "role", "Please choose one of these."),
        ({"email": DORA, "role": "root"}, 422, "role", "Please choose one of these."),
        ({"email": "bob@acme.example"}, 409, "email", "Whoever has this e-mail address is a member already."),
    ],
)
def test_a_refused_invitation_says_why_beside_the_field_and_keeps_what_was_typed(
    app, bob, alice_visits, typed, status, field, said
):
    page = alice_visits.send(alice_visits.open("/team/invite"), "Send the invitation", status, **typed)
    assert page.errors() == {field: said}
    assert page.values("Send the invitation")["email"] == typed["email"]
    with in_database(app):
        assert db.session.query(Invitation).count() == 0


@on_sqlite
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit.INVITATIONS, "Your team has sent too many invitations: wait before trying again."),
        (Limit.RECIPIENT, "Too many mails to this address: wait before trying again."),
    ],
)
def test_too_many_invitations_are_refused_in_words_and_those_of_the_api_count_too(
    app, alice_visits, mailbox, limit, said
):
    app.extensions["rates"] = {**app.extensions["rates"], limit: parse("2 per day")}
    for _ in range(2):
        invite(alice_visits)
    page = invite(alice_visits, status=429)
    assert page.errors() == {"email": said}
    assert page.values("Send the invitation")["email"] == DORA
    assert int(page.response.headers["Retry-After"]) > 0
    assert len(mailbox.of(DORA)) == 2


@on_sqlite
def test_an_invitation_of_the_api_counts_for_the_same_limit(app, alice, alice_visits):
    app.extensions["rates"] = {**app.extensions["rates"], Limit.INVITATIONS: parse("1 per day")}
    assert alice.client.post("/api/invitations", json={"email": DORA, "role": "member"}).status_code == 201
    invite(alice_visits, "ellen@acme.example", status=429)


@on_sqlite
def test_an_invitation_is_taken_back_after_a_page_that_names_it(app, alice_visits, mailbox):
    page = invite(alice_visits)
    (link,) = [link["href"] for link in page.soup.select("a") if link.get_text() == "Take back"]
    page = alice_visits.open(link)
    assert page.title == f"Take back the invitation of {DORA}?"
    page = alice_visits.send(page, "Take it back")
    assert page.messages == f"The invitation of {DORA} is taken back: the link in the mail does nothing any more."
    assert "Nobody is invited" in page.text
    alice_visits.open(link, 404)


@on_sqlite
def test_an_admin_is_offered_what_an_admin_may_do(app, alice, bob, alice_visits, bob_visits):
    set_membership(app, bob, role="admin")
    invite(alice_visits, role="owner")
    page = bob_visits.open("/team")
    assert page.all("tbody a") == ["Change"]  # themselves, and neither the owner nor who is to become one
    page = bob_visits.open("/team/invite")
    assert page.all("input[name=role] + label") == [
        "Admin: keeps the organisation's name, phone systems, payment accounts, API credentials, API keys and the team",
        "Member: sees calls, and nothing else",
    ]
    assert bob_visits.open(path(app, alice)).messages == "Only an owner may change an owner."
    assert bob_visits.open(f"{path(app, alice)}/remove").messages == "Only an owner may remove an owner."
    with in_database(app):
        invitation = db.session.scalars(select(Invitation.id)).one()
    page = bob_visits.open(f"/team/invitations/{invitation}/take-back")
    assert page.messages == "Only an owner may take back the invitation of an owner."


@on_sqlite
def test_the_service_refuses_an_admin_who_sends_more_than_was_offered(app, alice, bob, alice_visits, bob_visits):
    set_membership(app, bob, role="admin")
    invite(alice_visits, role="owner")
    page = bob_visits.send(bob_visits.open("/team/invite"), None, 403, email="x@x.example", role="owner")
    assert page.errors() == {"email": "Only an owner may invite an owner."}
    page = bob_visits.send(bob_visits.open("/team/invite"), None, 403, email=DORA, role="member")
    assert page.errors() == {"email": "Only an owner may change or take back an invitation of an owner."}
    page = bob_visits.send(bob_visits.open(path(app, bob)), "Save", 403, role="owner")
    assert "Only an owner may change an owner, or make somebody one." in page.messages
    form = bob_visits.open(path(app, bob)).values("Save") | {"version": "1", "role": "member"}
    post = partial(bob_visits.client.post, data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert [post(path(app, alice)).status_code, post(f"{path(app, alice)}/remove").status_code] == [403, 403]
    with in_database(app):
        invitation = db.session.scalars(select(Invitation)).one()
        assert invitation.role == "owner"
    assert post(f"/team/invitations/{invitation.id}/take-back").status_code == 403
    assert [membership_of(app, person).role for person in (alice, bob)] == ["owner", "admin"]


def test_a_member_is_changed_and_it_counts_at_once(app, bob, alice_visits, bob_visits):
    page = alice_visits.open(path(app, bob))
    assert page.title == bob.email
    page = alice_visits.send(page, "Save", role="admin")
    assert page.messages == f"What you changed about {bob.email} is saved, and counts from now on."
    assert bob_visits.open("/team").title == "Team"
    page = alice_visits.send(alice_visits.open(path(app, bob)), "Save", disabled="y")
    assert "disabled" in page.all("tbody tr td:first-child")[0]
    assert bob_visits.open("/team").title == "Sign in"
    page = alice_visits.send(alice_visits.open(path(app, bob)), "Save", disabled=None)
    assert "disabled" not in page.text
    assert membership_of(app, bob)[1:] == ("admin", None, 4)


@on_sqlite
def test_of_two_who_change_a_member_the_second_is_told_and_may_insist(app, bob, alice_visits):
    first, second = (alice_visits.open(path(app, bob)) for _ in range(2))
    alice_visits.send(first, "Save", role="admin")
    page = alice_visits.send(second, "Save", 409, role="member", disabled="y")
    assert page.messages.startswith("Somebody else has changed this meanwhile: nothing of yours is saved.")
    assert page.all("dl dd")[0] == "admin"
    assert page.values("Save").items() >= {"role": "member", "disabled": "y", "version": "2"}.items()
    assert membership_of(app, bob)[1:] == ("admin", None, 2)
    alice_visits.send(page, "Save")
    assert membership_of(app, bob).role == "member"
    assert membership_of(app, bob).disabled_at is not None


@on_sqlite
def test_a_member_is_removed_after_a_page_that_names_them(app, bob, alice_visits, bob_visits):
    page = alice_visits.open(f"{path(app, bob)}/remove")
    assert page.title == f"Remove {bob.email} from the team?"
    page = alice_visits.send(page, f"Remove {bob.email}")
    assert page.messages == f"{bob.email} is removed from the team, and signed out."
    assert membership_of(app, bob) is None
    assert bob_visits.open("/overview").title == "Sign in"


@on_sqlite
def test_nobody_is_removed_who_was_changed_since_the_question(app, bob, alice_visits):
    page = alice_visits.open(f"{path(app, bob)}/remove")
    set_membership(app, bob, role="owner", version=2)
    page = alice_visits.send(page, f"Remove {bob.email}", 409)
    assert page.messages.startswith("Somebody else has changed this member meanwhile: nobody is removed.")
    assert page.all("dl dd")[0] == "owner"
    alice_visits.send(page, f"Remove {bob.email}")
    assert membership_of(app, bob) is None


@on_sqlite
def test_a_version_that_is_none_changes_and_removes_nobody(app, bob, alice_visits):
    for address, button in ((path(app, bob), "Save"), (f"{path(app, bob)}/remove", f"Remove {bob.email}")):
        for version in ("", "x", "-1", "9" * 5000):
            page = alice_visits.send(alice_visits.open(address), button, 409, version=version)
            assert "Somebody else has changed this" in page.messages
            assert page.values(button)["version"] == "1"
    assert membership_of(app, bob)[1:] == ("member", None, 1)


@on_sqlite
def test_the_last_owner_is_told_why_they_stay_one(app, alice, bob, alice_visits):
    page = alice_visits.open(path(app, alice))
    assert page.messages.startswith("You are the last owner who can sign in.")
    assert page.soup.main.find_all("form") == []
    form = alice_visits.open(path(app, bob)).values("Save")
    for values in ({"role": "admin"}, {"role": "owner", "disabled": "y"}):
        sent = {**form, "version": "1", **values}
        answer = alice_visits.client.post(path(app, alice), data=sent, headers={"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, "the last owner" in answer.text) == (409, True)
    assert membership_of(app, alice)[1:] == ("owner", None, 1)


def test_of_two_owners_who_step_down_at_once_one_stays_and_is_told(app, alice, bob, alice_visits, bob_visits):
    set_membership(app, bob, role="owner")
    pages = [(visits, visits.open(path(app, person))) for visits, person in ((alice_visits, alice), (bob_visits, bob))]
    sent = [
        partial(
            visits.client.post,
            page.address,
            data=page.values("Save") | {"role": "member"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        for visits, page in pages
    ]
    answers = all_at_once(*sent)
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert any("the last owner" in answer.text for answer in answers)
    assert sorted(membership_of(app, person).role for person in (alice, bob)) == ["member", "owner"]


@on_sqlite
def test_who_steps_down_or_disables_themselves_gets_where_they_still_may_be(app, bob, bob_visits):
    set_membership(app, bob, role="owner")
    page = bob_visits.send(bob_visits.open(path(app, bob)), "Save", role="member")
    assert page.title == "Overview"
    set_membership(app, bob, role="owner")
    page = bob_visits.send(bob_visits.open(path(app, bob)), "Save", disabled="y")
    assert (page.title, page.messages) == ("Sign in", "You are disabled in this organisation now, and signed out.")


@on_sqlite
def test_nobody_removes_themselves_but_by_leaving(app, bob, bob_visits):
    set_membership(app, bob, role="admin")
    page = bob_visits.open(path(app, bob))
    (leave,) = page.soup.select(".actions a")
    assert leave["href"] == "/account/leave"
    assert bob_visits.open(f"{path(app, bob)}/remove").address == leave["href"]
    answer = bob_visits.client.post(f"{path(app, bob)}/remove", data=page.values("Save"))
    assert (answer.status_code, answer.headers["Location"]) == (303, leave["href"])
    assert membership_of(app, bob) is not None


@on_sqlite
def test_whoever_has_not_proved_themselves_lately_does_so_before_they_type(app, bob, alice_visits):
    invite(alice_visits)
    with in_database(app):
        invitation = db.session.scalars(select(Invitation.id)).one()
    for address, title in (
        ("/team/invite", "Invite somebody"),
        (path(app, bob), bob.email),
        (f"{path(app, bob)}/remove", f"Remove {bob.email} from the team?"),
        (f"/team/invitations/{invitation}/take-back", f"Take back the invitation of {DORA}?"),
    ):
        grow_stale(app)
        page = alice_visits.open(address)
        assert page.title == "Is it you?"
        page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
        assert (page.title, page.address) == (title, address)


@on_sqlite
def test_a_step_in_between_keeps_what_was_typed_and_does_nothing_yet(app, bob, alice_visits):
    form = alice_visits.open("/team/invite")
    grow_stale(app)
    page = alice_visits.send(form, "Send the invitation", email=DORA, role="admin")
    assert page.title == "Is it you?"
    page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
    assert page.values("Send the invitation").items() >= {"email": DORA, "role": "admin"}.items()
    with in_database(app):
        assert db.session.query(Invitation).count() == 0
    form = alice_visits.open(path(app, bob))
    grow_stale(app)
    page = alice_visits.send(form, "Save", role="admin", disabled="y")
    page = alice_visits.send(page, "Continue", **{"step-password": PASSWORD})
    assert page.values("Save").items() >= {"role": "admin", "disabled": "y", "version": "1"}.items()
    assert membership_of(app, bob).role == "member"
    alice_visits.send(page, "Save")
    assert membership_of(app, bob).role == "admin"


@on_sqlite
def test_a_form_of_another_site_changes_nobody(app, bob, alice_visits):
    form = alice_visits.open(path(app, bob)).values("Save") | {"role": "owner"}
    answer = alice_visits.client.post(path(app, bob), data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, OF_ANOTHER_SITE in answer.text) == (403, True)
    assert membership_of(app, bob).role == "member"


def add_members(app, alice, count, password_hash):
    me = membership_of(app, alice)
    with in_database(app):
        acme = db.session.get(Tenant, alice.tenant_id)
        for number in range(count):
            user = User(email=f"member{number}@acme.example", password_hash=password_hash)
            db.session.add(Membership(user=user, tenant=acme, role=Role.MEMBER))
            db.session.add(
                Invitation(
                    tenant_id=acme.id,
                    email=f"invited{number}@acme.example",
                    role="member",
                    invited_by_id=me.id,
                    token_hash=f"{number}",
                    expires_at=acme.created_at,
                )
            )
        db.session.commit()


@on_sqlite
def test_each_of_the_two_lists_has_pages_of_its_own(app, alice, alice_visits, password_hash):
    add_members(app, alice, 55, password_hash)
    page = alice_visits.open("/team")
    members, invited = (link["href"] for link in page.soup.select("a[rel=next]"))
    assert len(page.soup.select("tbody tr")) == 100
    older = alice_visits.open(members)
    assert alice.email in older.text
    assert len(older.soup.select("tbody tr")) == 7 + 50
    older = alice_visits.open(invited)
    assert len(older.soup.select("tbody tr")) == 50 + 5
    alice_visits.open("/team?cursor=x", 422)


def test_the_list_takes_as_many_statements_for_one_as_for_fifty(app, alice, alice_visits, password_hash):
    counts = []
    for count in (0, 50):
        add_members(app, alice, count, password_hash)
        alice_visits.open("/team")
        with statements(app) as seen:
            alice_visits.open("/team")
        counts.append(len([one for one in seen if not re.match("BEGIN|SELECT set_config", one)]))
    assert counts[0] == counts[1] <= 12


@on_sqlite
def test_what_others_wrote_is_shown_as_text(app, alice, alice_visits):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(name=CANARY))
        db.session.execute(update(User).where(User.email.startswith("bob")).values(email=CANARY))
        db.session.commit()
        bob = db.session.scalars(select(Membership.id).join(User).where(User.email == CANARY)).one()
    for address in ("/team", f"/team/members/{bob}", f"/team/members/{bob}/remove"):
        page = alice_visits.open(address)
        assert CANARY in page.text
        assert page.soup.find("script", string=re.compile("alert")) is None
