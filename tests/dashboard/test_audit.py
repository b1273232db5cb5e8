"""The page of the audit trail."""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select, update

from app.audit import actions, tally
from app.audit.models import AuditEvent
from app.database import now, uuid7
from app.extensions import db
from app.identity.models import Membership
from app.tenants.models import Tenant
from tests.calls.conftest import make_hook
from tests.conftest import in_database
from tests.one_time import statements

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CANARY = "<script>alert(1)</script>{{7*7}}=1+1"


def add(app, person, how_many=1, **values):
    """Events of what the person did; the ids of the objects that they are about."""
    objects = [uuid7() for _ in range(how_many)]
    event = {
        "occurred_at": now(),
        "action": "phone_system.updated",
        "outcome": "success",
        "actor_type": "user",
        "actor_id": person.user_id,
        "actor_name": person.email,
        "address": "192.0.2.7",
        "request_id": "a request",
        "count": 1,
        "details": {},
    }
    rows = [{"id": uuid7(), "tenant_id": person.tenant_id, "object_id": it} | event | values for it in objects]
    with in_database(app):
        db.session.execute(insert(AuditEvent), rows)
        db.session.commit()
    return objects


def sentences(page):
    """What the rows say, without the name of the action below it."""
    for name in page.soup.select("tbody td:nth-child(2) > a.small"):
        name.extract()
    return page.all("tbody td:nth-child(2)")


def find(visitor, status=200, **filters):
    return visitor.send(visitor.open("/audit"), "Show", status, **filters)


@on_sqlite
def test_owners_and_admins_see_the_trail_and_nobody_else_does(app, bob, alice_visits, bob_visits):
    assert alice_visits.open("/audit").title == "Audit trail"
    bob_visits.open("/audit", 403)
    with in_database(app):
        db.session.execute(update(Membership).where(Membership.user_id == bob.user_id).values(role="admin"))
        db.session.commit()
    bob_visits.open("/audit")


@on_sqlite
def test_what_happened_is_told_in_sentences_newest_first(app, alice, alice_visits, charlie_visits):
    make_hook(app, alice)
    key = alice.client.post("/api/api-keys", json={"name": "Wallboard", "role": "admin"}).json["key"]
    with_key = {"Authorization": f"Bearer {key}"}
    made = app.test_client().post("/api/phone-systems", json={"name": "PBX", "vendor": "asterisk"}, headers=with_key)
    assert made.status_code == 201
    app.test_cli_runner().invoke(args=["suspend-tenant", "acme", "--undo"])
    page = alice_visits.open("/audit")
    assert sentences(page)[:3] == [
        "The operator of this service let the organisation in again",
        "API key “Wallboard” added a phone system “PBX”",
        f"{alice.email} made an API key",
    ]
    assert (
        page.all("tbody td:nth-child(3)")[1]
        == f"what was set: name, kind, webhook password, user name for deliveries object: {made.json['id']}"
    )
    assert page.all("tbody td:nth-child(4)")[0] == "the server itself"
    assert page.all("tbody td:nth-child(4)")[1].startswith("127.0.0.1 request ")
    assert "Wallboard" not in charlie_visits.open("/audit").text


@on_sqlite
def test_every_action_that_a_tenant_can_see_has_words_and_can_be_chosen(app, alice, alice_visits):
    names = [action for group in actions.OF_TENANTS.values() for action in group]
    offered = [option["value"] for option in alice_visits.open("/audit").soup.select("#action option")]
    assert offered == ["", *names]
    for action in names:
        add(app, alice, action=action)
        page = find(alice_visits, action=action)
        assert f"{alice.email} {actions.WORDS[action]}" in sentences(page)
    add(app, alice, action="of.tomorrow")
    assert sentences(alice_visits.open("/audit"))[0] == f"{alice.email} of.tomorrow"


@on_sqlite
def test_a_refusal_and_what_was_added_up_are_marked(app, alice, alice_visits):
    times = {"first": "2026-07-01T10:00:00+00:00", "last": "2026-07-01T10:59:00+00:00", "new": True, "none": None}
    add(app, alice, outcome="refused", action="request.too_many", count=1234, details=times)
    page = alice_visits.open("/audit")
    assert page.all("tbody .badge")[:2] == ["refused", "1,234 times"]
    assert page.all("tbody td:nth-child(3)")[0].startswith(
        "first time: 1 Jul 2026, 10:00 last time: 1 Jul 2026, 10:59 new: yes none: none object: "
    )


@on_sqlite
def test_filters_stand_in_the_address_and_are_combined(app, alice, bob, alice_visits):
    (ours,) = add(app, alice)
    add(app, alice, outcome="refused")
    add(app, bob)
    add(app, alice, action="phone_system.deleted")
    page = find(alice_visits, action="phone_system.updated", outcome="success", actor_id=str(alice.user_id))
    assert page.all("tbody td:nth-child(3)") == [f"object: {ours}"]
    assert page.response.request.args.to_dict(flat=True) == {
        "action": "phone_system.updated",
        "outcome": "success",
        "actor_id": str(alice.user_id),
        "from_date": "",
        "to_date": "",
        "object_id": "",
    }
    values = page.values("Show")
    assert (values["action"], values["actor_id"]) == ("phone_system.updated", str(alice.user_id))
    page = find(alice_visits, object_id=f" {ours} ")
    assert page.all("tbody td:nth-child(3)") == [f"object: {ours}"]
    page = find(alice_visits, action="tenant.suspended")
    assert "Nothing that happened fits these filters." in page.text


@on_sqlite
def test_links_in_the_list_narrow_it_and_keep_the_other_filters(app, alice, alice_visits):
    stranger = uuid7()
    (ours,) = add(app, alice, actor_type="phone_system", actor_id=stranger, actor_name="PBX")
    page = find(alice_visits, outcome="success", action="phone_system.updated")
    (who,) = page.soup.select("tbody td:nth-child(2) > a:not(.small)")
    page = alice_visits.open(who["href"])
    assert sentences(page) == ["Phone system “PBX” changed a phone system"]
    values = page.values("Show")
    assert (values["outcome"], values["actor_id"]) == ("success", str(stranger))
    (about,) = page.soup.select("tbody td:nth-child(3) a")
    assert alice_visits.open(about["href"]).values("Show")["object_id"] == str(ours)


def test_what_it_was_about_is_named_and_linked_while_it_is_there(app, alice, alice_visits):
    hook = make_hook(app, alice)
    alice.client.patch(f"/api/phone-systems/{hook.phone_system_id}", json={"name": CANARY})
    assert hook.deliver().status_code == 201
    account = alice.client.post("/api/payment-accounts", json={"provider": "paypal", "mode": "live"}).json["id"]
    credential = alice.client.post("/api/api-credentials", json={"name": "Maps", "provider": "acme"}).json["id"]
    alice.client.patch(f"/api/api-credentials/{credential}", json={"name": "Routes"})
    page = alice_visits.open("/audit")
    assert {link["href"] for link in page.soup.select("tbody a.about")} == {
        f"/phone-systems/{hook.phone_system_id}",
        f"/payment-accounts/{account}",
        f"/api-credentials/{credential}",
    }
    assert alice.client.delete(f"/api/payment-accounts/{account}").status_code == 204
    assert alice.client.delete(f"/api/api-credentials/{credential}").status_code == 204
    assert hook.deliver(credentials=("", "wrong")).status_code == 401
    with app.app_context():
        tally.store_counted()
    page = alice_visits.open("/audit")
    assert {link["href"] for link in page.soup.select("tbody a.about")} == {f"/phone-systems/{hook.phone_system_id}"}
    told = [text.removesuffix(" refused") for text in sentences(page)][:8]
    assert told == [
        f"Somebody who is not signed in {actions.WORDS['delivery.refused']} “{CANARY}”",
        f"{alice.email} deleted an API credential “Routes”",
        f"{alice.email} deleted a payment account “PayPal (live)”",
        f"{alice.email} changed an API credential “Routes”",
        f"{alice.email} added an API credential “Maps”",
        f"{alice.email} added a payment account “PayPal (live)”",
        f"Phone system “{CANARY}” used a stored secret",
        f"{alice.email} changed a phone system “{CANARY}”",
    ]


@on_sqlite
def test_days_are_those_of_the_organisation_and_the_last_is_included(app, alice, alice_visits):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="America/New_York"))
        db.session.commit()
    times = [datetime(2026, 7, 1, 3, 59), datetime(2026, 7, 1, 4), datetime(2026, 7, 3, 3, 59), datetime(2026, 7, 3, 4)]
    before, first, last, after = (str(add(app, alice, occurred_at=it.replace(tzinfo=UTC))[0]) for it in times)
    page = find(alice_visits, from_date="2026-07-01", to_date="2026-07-02")
    assert page.all("tbody td:nth-child(3) a") == [last, first]
    assert page.all("tbody td:first-child") == ["2 Jul 2026, 23:59", "1 Jul 2026, 00:00"]
    assert page.soup.select_one("tbody time")["title"] == "2026-07-03 03:59:00 UTC"
    assert (before, after) not in page.all("tbody td:nth-child(3) a")


@on_sqlite
@pytest.mark.parametrize(
    ("filters", "field", "said"),
    [
        ({"action": "of.tomorrow"}, "action", "Not a valid choice."),
        (
            {"from_date": "2026-11-20", "to_date": "2026-11-19"},
            "to_date",
            "This must not be before the first day.",
        ),
        ({"outcome": "perhaps"}, "outcome", "Please choose one of these."),
        ({"actor_id": "alice"}, "actor_id", "This is not an id."),
        ({"object_id": CANARY}, "object_id", "This is not an id."),
        ({"from_date": "soon"}, "from_date", "Please choose a day, such as 2030-01-31."),
        ({"to_date": "9999-12-31"}, "to_date", "Please choose a day, such as 2030-01-31."),
    ],
)
def test_a_filter_that_is_none_says_so_and_stays(app, alice, alice_visits, filters, field, said):
    add(app, alice)
    page = find(alice_visits, 422, **filters)
    assert page.errors() == {field: said}
    assert page.soup.select("tbody") == []
    if field not in ("action", "outcome"):
        assert page.values("Show")[field] == filters[field]


@on_sqlite
def test_what_others_wrote_is_shown_as_text(app, alice, alice_visits):
    add(app, alice, actor_name=CANARY, details={CANARY: CANARY, "name": CANARY})
    assert alice.client.post("/api/api-keys", json={"name": CANARY, "role": "member"}).status_code == 201
    page = alice_visits.open("/audit")
    assert page.all("tbody tr")[1].count(CANARY) == 4
    assert page.all("#actor_id optgroup:last-child option") == [CANARY]
    assert page.soup.find("script", string=re.compile("alert")) is None


def test_the_list_takes_as_many_statements_for_one_as_for_fifty_and_is_paged(app, alice, alice_visits):
    counts = []
    for count in (1, 60):
        add(app, alice, count)
        alice_visits.open("/audit")
        with statements(app) as seen:
            page = find(alice_visits, action="phone_system.updated")
        counts.append(len([one for one in seen if not re.match("BEGIN|SELECT set_config", one)]))
    assert counts[0] == counts[1] <= 2 * 12  # two pages were opened
    (older,) = page.soup.select("a[rel=next]")
    page = alice_visits.open(older["href"])
    assert len(page.soup.select("tbody tr")) == 11
    assert page.values("Show")["action"] == "phone_system.updated"
    alice_visits.open("/audit?cursor=x", 422)


@on_sqlite
def test_looking_leaves_nothing_in_the_trail(app, alice, alice_visits):
    alice_visits.open("/audit")
    with in_database(app):
        before = db.session.scalars(select(AuditEvent.id)).all()
    alice_visits.open("/audit")
    with in_database(app):
        assert db.session.scalars(select(AuditEvent.id)).all() == before
