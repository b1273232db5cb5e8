"""Phone systems on pages: from adding one to its first record, and to its end."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, update

from app.audit.models import AuditEvent
from app.calls.models import Call
from app.database import now
from app.extensions import db
from app.identity.models import UserSession
from app.phone_systems.models import PhoneSystem
from app.phone_systems.service import phone_systems
from app.phone_systems.vendors import PASSWORD_HERE
from tests.calls.conftest import Hook, hook, make_hook
from tests.conftest import PASSWORD, in_database
from tests.dashboard.conftest import statements
from tests.data import captured_body

__all__ = ["hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LIST = "/phone-systems"


def page_of(hook: Hook) -> str:
    return f"{LIST}/{id_of(hook)}"


def id_of(hook: Hook) -> str:
    return hook.path.split("/")[3]


def stored(app) -> PhoneSystem:
    with in_database(app):
        return db.session.scalars(select(PhoneSystem)).one()


def let_proof_expire(app):
    with in_database(app):
        db.session.execute(update(UserSession).values(authenticated_at=now() - timedelta(hours=1)))
        db.session.commit()


def prove(visitor, page):
    assert page.title == "Is it you?"
    return visitor.send(page, "Continue", **{"step-password": PASSWORD})


def add(visitor, **fields):
    page = visitor.open(f"{LIST}/new")
    return visitor.send(page, "Save", **{"name": "Head office", "vendor": "asterisk", **fields})


def with_password(app, page) -> Hook:
    """What delivers with the password that a page shows."""
    with in_database(app):
        phone_system = db.session.scalars(select(PhoneSystem)).one()
        return Hook(app, phone_system.webhook_path, phone_system.webhook_username, page.all("#webhook-password")[0])


def test_an_empty_list_says_what_to_do_next(alice_visits):
    page = alice_visits.open(LIST)
    assert "There is no phone system yet" in page.text
    page = alice_visits.open(page.soup.select_one(".empty a")["href"])
    assert page.title == "New phone system"


def test_a_new_one_gets_a_password_that_is_shown_once_with_what_to_enter(app, alice_visits):
    page = add(alice_visits, time_zone="Europe/Zurich")
    assert page.title == "Head office was added"
    url = f"https://audiapro.example{stored(app).webhook_path}"
    password = page.all("#webhook-password")[0]
    dialplan = page.soup.select_one("pre").get_text()
    assert f"CURL({url}," in dialplan
    assert f"=pbx:{password})" in dialplan
    assert stored(app).time_zone == "Europe/Zurich"
    assert with_password(app, page).deliver().status_code == 201
    page = alice_visits.open(f"{LIST}/{stored(app).id}")
    assert password not in page.response.text
    assert PASSWORD_HERE in page.soup.select_one("pre").get_text()
    assert page.all("#webhook-url") == [url]
    assert page.all("#webhook-username") == ["pbx"]


@on_sqlite
def test_each_vendor_has_its_own_instructions(app, alice_visits):
    page = add(alice_visits, vendor="grandstream", webhook_username="ucm")
    fields = dict(
        zip(page.all(".to-enter dt"), page.all(".to-enter dd code, .to-enter dd:not(:has(code))"), strict=True)
    )
    path = stored(app).webhook_path
    assert fields["Server Address"] == f"audiapro.example{path}"
    assert fields["Username"] == "ucm"
    assert fields["Password"] == page.all("#webhook-password")[0]
    page = alice_visits.open(f"{LIST}/{stored(app).id}")
    assert "the webhook password" in page.all(".to-enter dd")


def test_waiting_ends_with_the_first_record_which_is_shown(app, alice_visits):
    page = add(alice_visits)
    live = page.soup.select_one("[data-live]")
    assert live["data-every"] == "3"
    assert "Waiting for a call record" in live.get_text()
    fragment = alice_visits.client.get(live["data-live"])
    assert "data-live" in fragment.text
    with_password(app, page).deliver()
    fragment = alice_visits.client.get(live["data-live"])
    assert "A call record has come" in fragment.text
    assert "+442071234567" in fragment.text
    assert "data-live" not in fragment.text
    assert fragment.headers["Cache-Control"] == "no-store"


def test_who_waits_is_told_why_nothing_comes_and_that_is_over_with_the_first_record(app, alice_visits):
    page = add(alice_visits)
    live = page.soup.select_one("[data-live]")["data-live"]
    hook = with_password(app, page)

    def card():
        return " ".join(alice_visits.client.get(live).text.split())

    assert "refused" not in card()
    assert hook.deliver(credentials=("", "wrong")).status_code == 401
    assert "was refused: the user name or the password is wrong" in card()
    assert hook.deliver(b"src=1").status_code == 422
    told = card()
    assert "It delivers, but not what Asterisk / FreePBX sends: is the kind right?" in told
    assert "was refused: uniqueid is missing." in told
    assert "data-live" in told
    assert hook.deliver().status_code == 201
    assert "A call record has come" in card()
    assert "refused" not in card()


@on_sqlite
@pytest.mark.parametrize(
    ("options", "sentence", "counted"),
    [
        (
            {"credentials": ("", "wrong")},
            "wrong user name or password",
            "with a wrong user name or password",
        ),
        (
            {"body": b"<cdr/>", "content_type": "application/xml"},
            "It delivers, but not what its kind sends: is the kind right?",
            "that Asterisk / FreePBX does not send (it is of another content type)",
        ),
    ],
)
def test_a_refusal_shows_at_once_and_again_where_it_was_mended_in_between(
    alice_visits, hook, options, sentence, counted
):
    for _ in range(2):
        hook.deliver(**options)
        for address in (page_of(hook), LIST, "/overview"):
            alice_visits.open(address)
        assert sentence in alice_visits.open(LIST).text
        assert f"1 delivery {counted}, from 127.0.0.1" in alice_visits.open(page_of(hook)).text
        assert hook.deliver().status_code in (200, 201)
        hook.deliver(captured_body("asterisk/busy.http"))
        page = alice_visits.open(LIST)
        assert sentence not in page.text
        assert "Fine" in page.text
        forget_records(hook)


def forget_records(hook: Hook):
    """So that the next that it delivers is one again."""
    with in_database(hook.app):
        db.session.execute(delete(Call))
        db.session.commit()


@on_sqlite
def test_waiting_ends_after_ten_minutes(alice_visits, hook):
    for since in (now() - timedelta(minutes=11)).isoformat(), "2000-01-01T00:00:00+00:00":
        fragment = alice_visits.client.get(f"{page_of(hook)}/arrivals", query_string={"since": since})
        assert "No call record has come in ten minutes" in fragment.text
        assert "data-live" not in fragment.text


@on_sqlite
@pytest.mark.parametrize("since", ["", "x", "2999-01-01T00:00:00+00:00", "2026-01-01", "9999-99-99", "1" * 5000])
def test_waiting_since_no_time_at_all_begins_now(alice_visits, hook, since):
    fragment = alice_visits.client.get(f"{page_of(hook)}/arrivals", query_string={"since": since})
    assert fragment.status_code == 200
    assert "Waiting for a call record" in fragment.text


def test_a_record_from_before_is_not_the_one_that_is_waited_for(alice_visits, hook):
    hook.deliver()
    page = alice_visits.open(page_of(hook))
    assert page.soup.select_one(".waiting") is None
    page = alice_visits.open(f"{page_of(hook)}?wait=1")
    assert "Waiting for a call record" in page.text
    hook.deliver(captured_body("asterisk/busy.http"))
    assert "A call record has come" in alice_visits.client.get(page.soup.select_one("[data-live]")["data-live"]).text


@on_sqlite
def test_what_was_made_up_is_no_delivery(app, alice_visits, hook):
    hook.deliver()
    with in_database(app):
        db.session.execute(update(Call).values(demonstration=True))
        db.session.commit()
    page = alice_visits.open(page_of(hook))
    assert "No call record has come yet." in page.messages
    assert "Waiting for a call record" in page.text


def test_the_list_tells_how_each_one_is(app, alice, alice_visits, hook):
    page = alice_visits.open(LIST)
    assert "No call record has come yet." in page.text
    hook.deliver()
    page = alice_visits.open(LIST)
    assert "Fine" in page.text
    assert "just now" in page.text
    with in_database(app):
        db.session.execute(update(Call).values(received_at=now() - timedelta(days=4)))
        db.session.commit()
    assert "No call record has come for more than 3 days." in alice_visits.open(LIST).text
    with in_database(app):
        phone_systems.update(db.session(), alice.tenant_id, UUID(id_of(hook)), {"webhook_password": None})
    page = alice_visits.open(LIST)
    assert "No webhook password is set" in page.text
    assert "not set" in page.text


def test_refused_deliveries_are_told(app, alice_visits, hook):
    hook.deliver()
    with in_database(app):
        event = AuditEvent(
            tenant_id=stored(app).tenant_id,
            object_id=UUID(id_of(hook)),
            action="delivery.refused",
            outcome="refused",
            actor_type="anonymous",
            actor_name="",
            address="203.0.113.7",
            count=3,
            details={},
        )
        db.session.add(event)
        db.session.commit()
    assert "wrong user name or password" in alice_visits.open(LIST).text
    page = alice_visits.open(page_of(hook))
    assert "3 deliveries with a wrong user name or password, from 203.0.113.7" in page.text


def test_rotating_keeps_the_old_password_for_the_chosen_time(app, alice_visits, hook):
    page = alice_visits.open(page_of(hook))
    page = alice_visits.open(
        page.soup.find("a", string="Replace", href=lambda it: it.endswith("/webhook-password"))["href"]
    )
    assert page.values("Make a new password")["keep_previous_hours"] == "24"
    page = alice_visits.send(page, "Make a new password", keep_previous_hours="1")
    assert page.title == "New webhook password for HQ"
    new = with_password(app, page)
    assert new.password != hook.password
    assert f"=pbx:{new.password})" in page.soup.select_one("pre").get_text()
    left = stored(app).previous_webhook_password_expires_at - now()
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert "until then no call is lost" in page.text
    live = page.soup.select_one("[data-live]")["data-live"]
    assert hook.deliver().status_code == 201
    fragment = alice_visits.client.get(live).text
    assert "It came with the old password" in fragment
    assert "data-live" in fragment
    page = alice_visits.open(page_of(hook))
    assert "The phone system has not used the new one yet." in page.text
    assert new.password not in page.response.text
    assert new.deliver(captured_body("asterisk/busy.http")).status_code == 201
    assert "The phone system uses the new password." in alice_visits.client.get(live).text
    page = alice_visits.open(page_of(hook))
    assert "The phone system has used the new one since" in page.text
    page = alice_visits.open(page.soup.find("a", string="Stop accepting the old one")["href"])
    assert "so nothing should be lost" in page.text
    page = alice_visits.send(page, "Stop accepting the old password")
    assert page.messages == "The old webhook password does not work any more."
    assert hook.deliver().status_code == 401
    assert new.deliver().status_code == 200


@on_sqlite
def test_a_password_that_others_know_is_refused_at_once(app, alice_visits, hook):
    page = alice_visits.open(f"{page_of(hook)}/webhook-password")
    page = alice_visits.send(page, "Make a new password", keep_previous_hours="0")
    assert "The old password does not work any more" in page.text
    assert hook.deliver().status_code == 401
    assert with_password(app, page).deliver().status_code == 201


@on_sqlite
def test_a_removed_webhook_password_refuses_deliveries_until_one_is_set(app, alice_visits, hook):
    page = alice_visits.open(f"{page_of(hook)}/webhook-password/remove")
    assert "is refused until you set a new one" in page.text
    page = alice_visits.send(page, "Remove the webhook password")
    assert "The webhook password of HQ was removed." in page.messages
    assert hook.deliver().status_code == 401
    page = alice_visits.open(f"{page_of(hook)}/webhook-password")
    assert page.title == "Set a webhook password for HQ"
    page = alice_visits.send(page, "Make a new password")
    assert with_password(app, page).deliver().status_code == 201


@on_sqlite
def test_another_grace_than_those_offered_is_refused(app, alice_visits, hook):
    page = alice_visits.open(f"{page_of(hook)}/webhook-password")
    for hours in ("169", "-1", "x", ""):
        refused = alice_visits.send(page, "Make a new password", 422, keep_previous_hours=hours)
        assert refused.errors().keys() == {"keep_previous_hours"}
    assert hook.deliver().status_code == 201


@on_sqlite
def test_a_rotation_on_top_of_one_in_another_tab_is_told(app, alice_visits, hook):
    tab = alice_visits.open(f"{page_of(hook)}/webhook-password")
    page = alice_visits.send(alice_visits.open(tab.address), "Make a new password")
    first = with_password(app, page)
    page = alice_visits.send(tab, "Make a new password", 422)
    assert "It was changed meanwhile" in page.messages
    assert first.deliver().status_code == 201
    page = alice_visits.send(page, "Make a new password")
    assert page.title == "New webhook password for HQ"
    assert hook.deliver().status_code == 401


def statuses(*hooks: Hook) -> list[int]:
    return [one.deliver().status_code for one in hooks]


def test_of_two_passwords_the_page_says_which_one_ends_and_that_is_the_one_that_is_refused(app, alice_visits, hook):
    address = f"{page_of(hook)}/webhook-password"
    assert "Two passwords work" not in alice_visits.open(address).text
    assert statuses(hook) == [201]
    lost = with_password(app, alice_visits.send(alice_visits.open(address), "Make a new password"))
    page = alice_visits.open(address)
    assert "one of them stops working now, whatever you choose: the newest, which the phone system has not" in page.text
    assert "The one before it works on for as long as you choose, and until" in page.text
    entered = with_password(app, alice_visits.send(page, "Make a new password", keep_previous_hours="1"))
    assert timedelta(hours=23) < stored(app).previous_webhook_password_expires_at - now() < timedelta(hours=24)
    assert statuses(hook, lost, entered) == [200, 401, 200]
    page = alice_visits.open(address)
    assert "whatever you choose: the one from before the last change. The newest, which the phone system" in page.text
    newest = with_password(app, alice_visits.send(page, "Make a new password"))
    assert statuses(hook, entered, newest) == [401, 200, 200]


@on_sqlite
def test_no_password_works_on_where_the_page_says_that_both_stop(app, alice_visits, hook):
    address = f"{page_of(hook)}/webhook-password"
    lost = with_password(app, alice_visits.send(alice_visits.open(address), "Make a new password"))
    page = alice_visits.open(address)
    assert "with “Not at all” it stops now, too" in page.text
    newest = with_password(app, alice_visits.send(page, "Make a new password", keep_previous_hours="0"))
    assert statuses(hook, lost, newest) == [401, 401, 201]


def test_deleting_names_it_and_leaves_its_records(app, alice_visits, hook):
    hook.deliver()
    page = alice_visits.open(f"{page_of(hook)}/delete")
    assert page.title == "Delete HQ?"
    assert "Its call records stay." in page.text
    page = alice_visits.send(page, "Delete HQ")
    assert (page.title, page.messages) == ("Phone systems", "HQ was deleted.")
    assert hook.deliver().status_code == 401
    assert len(hook.stored()) == 1
    assert alice_visits.open(page_of(hook), 404).title == "Page not found"


def test_an_edit_changes_what_was_typed_and_nothing_else(app, alice_visits, hook):
    page = alice_visits.open(f"{page_of(hook)}/edit")
    assert "password" not in page.values("Save")
    page = alice_visits.send(page, "Save", name="Branch", time_zone="")
    assert (page.title, page.messages) == ("Branch", "Branch was saved. No call record has come yet.")
    assert stored(app).time_zone is None
    assert hook.deliver().status_code == 201
    with in_database(app):
        event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "phone_system.updated")).one()
        assert event.details == {"name": "Branch", "fields": ["name", "time_zone"]}


@on_sqlite
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": ""}, {"name": "Please fill this in."}),
        ({"name": "  "}, {"name": "Please fill this in."}),
        ({"name": "x" * 256}, {"name": "This is too long: at most 255 characters."}),
        ({"base_url": "ftp://pbx"}, {"base_url": "This must be an http:// or https:// URL."}),
        ({"base_url": "https://a:b@pbx"}, {"base_url": "This must have no user name or password in it."}),
        ({"webhook_username": "a:b"}, {"webhook_username": "This must not contain a colon."}),
        (
            {"time_zone": "Mars/Base"},
            {"time_zone": "This must be the name of an IANA time zone, such as Europe/Berlin."},
        ),
        ({"vendor": "x"}, {"vendor": "This must be one of asterisk, freeswitch, grandstream, yeastar."}),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_the_rest_stays(app, alice_visits, hook, fields, wrong):
    before = stored(app)
    for path in (f"{page_of(hook)}/edit", f"{LIST}/new"):
        page = alice_visits.open(path)
        page = alice_visits.send(page, "Save", 422, **{"name": "Typed", "username": "kept", **fields})
        assert page.errors() == wrong
        assert page.values("Save")["username"] == "kept"
    assert stored(app).version == before.version


@on_sqlite
def test_the_second_tab_is_told_and_may_save_over_it_knowingly(app, alice_visits, hook):
    first, second = (alice_visits.open(f"{page_of(hook)}/edit") for _ in range(2))
    alice_visits.send(first, "Save", name="First", webhook_username="first")
    page = alice_visits.send(second, "Save", 422, name="Second")
    assert "Somebody changed this while you were editing it" in page.messages
    rows = [" ".join(row.get_text(" ").split()) for row in page.soup.select("tbody tr")]
    assert rows == ["Name First Second"]  # the rest was not touched here
    assert page.values("Save")["webhook_username"] == "first"
    assert (stored(app).name, stored(app).webhook_username) == ("First", "first")
    page = alice_visits.send(page, "Save")
    assert page.title == "Second"
    assert stored(app).webhook_username == "first"


@on_sqlite
def test_an_address_that_somebody_else_changed_asks_nobody_else_for_the_secret(app, alice_visits, hook):
    alice_visits.send(alice_visits.open(f"{page_of(hook)}/secret"), "Save", password="hunter2hunter2")
    first, second = (alice_visits.open(f"{page_of(hook)}/edit") for _ in range(2))
    moved = "https://other.example.com"
    page = alice_visits.send(first, "Save", 422, base_url=moved)
    alice_visits.send(page, "Save", password="hunter3hunter3")
    page = alice_visits.send(second, "Save", 422, name="Second")
    assert page.values("Save")["base_url"] == moved
    assert "password" not in page.values("Save")
    alice_visits.send(page, "Save")
    assert (stored(app).base_url, stored(app).password_set) == (moved, True)


@on_sqlite
@pytest.mark.parametrize("opened", ["", "x", "[]", "{}", "[" * 5000, '{"name": {}}'])
def test_what_says_nothing_of_what_was_there_counts_as_typed(app, alice_visits, hook, opened):
    first, second = (alice_visits.open(f"{page_of(hook)}/edit") for _ in range(2))
    alice_visits.send(first, "Save", name="First")
    page = alice_visits.send(second, "Save", 422, opened=opened)
    assert page.all("tbody tr") == ["Name First HQ"]


@on_sqlite
@pytest.mark.parametrize("version", ["", "x", "-1", "1.0", "9" * 40, "²"])
def test_a_form_without_its_version_saves_nothing(app, alice_visits, hook, version):
    page = alice_visits.open(f"{page_of(hook)}/edit")
    alice_visits.send(page, "Save", 422, name="Branch", version=version)
    for path, button in (("delete", "Delete HQ"), ("webhook-password", "Make a new password")):
        page = alice_visits.open(f"{page_of(hook)}/{path}")
        page = alice_visits.send(page, button, 422, version=version)
        assert "It was changed meanwhile" in page.messages
    assert stored(app).name == "HQ"
    assert hook.deliver().status_code == 201


@on_sqlite
def test_deleting_what_was_changed_meanwhile_is_asked_once_more(alice_visits, hook):
    page = alice_visits.open(f"{page_of(hook)}/delete")
    alice_visits.send(alice_visits.open(f"{page_of(hook)}/edit"), "Save", name="Branch")
    page = alice_visits.send(page, "Delete HQ", 422)
    assert page.title == "Delete Branch?"
    assert alice_visits.send(page, "Delete Branch").title == "Phone systems"


@on_sqlite
def test_what_needs_proof_asks_before_and_returns(app, alice_visits, hook):
    let_proof_expire(app)
    page = prove(alice_visits, alice_visits.open(f"{page_of(hook)}/webhook-password"))
    let_proof_expire(app)
    page = alice_visits.send(page, "Make a new password", keep_previous_hours="168")
    page = prove(alice_visits, page)
    assert page.values("Make a new password")["keep_previous_hours"] == "168"
    assert hook.deliver().status_code == 201
    assert alice_visits.send(page, "Make a new password").title == "New webhook password for HQ"
    for path, button in (("webhook-password/end-grace", "Stop accepting the old password"), ("delete", "Delete HQ")):
        let_proof_expire(app)
        page = prove(alice_visits, alice_visits.open(f"{page_of(hook)}/{path}"))
        let_proof_expire(app)
        page = prove(alice_visits, alice_visits.send(page, button))
        assert stored(app) is not None
        alice_visits.send(page, button)
    assert alice_visits.open(LIST).title == "Phone systems"


@on_sqlite
def test_only_owners_and_admins_of_the_tenant_see_any_of_it(bob_visits, charlie_visits, hook):
    paths = ["", "/edit", "/delete", "/secret", "/secret/remove", "/arrivals"]
    paths += ["/webhook-password", "/webhook-password/remove", "/webhook-password/end-grace"]
    for path in paths:
        assert bob_visits.open(page_of(hook) + path, 403).title == "Not allowed"
        assert charlie_visits.open(page_of(hook) + path, 404).title == "Page not found"
        assert charlie_visits.open(f"{LIST}/{uuid4()}{path}", 404).title == "Page not found"
    for path in (LIST, f"{LIST}/new"):
        assert bob_visits.open(path, 403).title == "Not allowed"
    assert "HQ" not in charlie_visits.open(LIST).text


@on_sqlite
def test_markup_and_formulas_are_text_everywhere(app, alice_visits):
    canary = "<script>alert(1)</script>{{7*7}}=1+1"
    page = add(alice_visits, name=canary, webhook_username="<script>{{7*7}}", username=canary)
    assert canary in page.title
    assert page.soup.select_one("main script") is None
    id = stored(app).id
    for path in ("", "/edit", "/delete", "/secret", "/webhook-password", "/webhook-password/remove"):
        page = alice_visits.open(f"{LIST}/{id}{path}")
        assert canary in (page.title, *page.values("Save").values()) if path == "/edit" else canary in page.title
        assert page.soup.select_one("main script") is None
        assert "49" not in page.soup.title.get_text()
    assert canary in alice_visits.open(LIST).text


def test_a_list_takes_the_same_number_of_statements_however_long_it_is(app, alice, alice_visits):
    counts = []
    for number in (1, 49):
        for _ in range(number):
            make_hook(app, alice)
        alice_visits.open(LIST)
        with statements(app) as seen:
            page = alice_visits.open(LIST)
        counts.append(len(seen))
    assert len(page.soup.select("tbody tr")) == 50
    assert counts[0] == counts[1] <= 12


def test_each_page_takes_few_statements(app, alice_visits, hook):
    hook.deliver()
    alice_visits.send(alice_visits.open(f"{page_of(hook)}/webhook-password"), "Make a new password")
    for path in ("?wait=1", "/edit", "/delete", "/webhook-password/end-grace", "/arrivals"):
        with statements(app) as seen:
            assert alice_visits.client.get(page_of(hook) + path).status_code == 200
        assert len(seen) <= 12, (path, seen)


@on_sqlite
def test_a_long_list_has_pages(app, alice, alice_visits):
    for _ in range(51):
        make_hook(app, alice)
    page = alice_visits.open(LIST)
    page = alice_visits.open(page.soup.find("a", rel="next")["href"])
    assert len(page.soup.select("tbody tr")) == 1
