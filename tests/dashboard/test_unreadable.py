"""What phone systems deliver and is not understood, on pages."""

import pytest
from sqlalchemy import select, text

from app.audit.models import AuditEvent
from app.extensions import db
from app.phone_systems.models import UnreadableDelivery
from tests.calls.conftest import hook
from tests.conftest import in_database
from tests.dashboard.conftest import signed_in_visitor

__all__ = ["hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NASTY = b"</pre><script>alert(1)</script>&src=\x00\xff"


def page_of(hook):
    return f"/phone-systems/{hook.phone_system_id}"


def one_of(visitor, hook):
    """The page of the newest, by the link to it."""
    return visitor.open(visitor.open(page_of(hook)).soup.select_one("#unreadable ~ .table-card tbody a")["href"])


def test_the_phone_systems_page_lists_what_was_not_understood_and_counts(alice_visits, hook):
    assert not alice_visits.open(page_of(hook)).soup.select("#unreadable")
    hook.deliver()
    hook.deliver(b"src=1")
    hook.deliver(credentials=("", "wrong"))
    page = alice_visits.open(page_of(hook))
    (row,) = page.soup.select("#unreadable ~ .table-card tbody tr")
    assert "uniqueid is missing" in row.get_text()
    assert "5 bytes" in row.get_text()
    assert page.all("#lately") == ["1 record stored; 2 deliveries refused, 1 of them not understood"]


def test_what_was_delivered_is_shown_as_text_and_who_looks_is_in_the_audit_trail(app, alice, alice_visits, hook):
    hook.deliver(NASTY, content_type="text/html; x=<b>")
    page = one_of(alice_visits, hook)
    assert page.soup.select_one("pre#body").get_text() == "</pre><script>alert(1)</script>&src=␀<0xFF>"
    assert "<script>alert" not in page.response.text
    assert "text/html; x=<b>" in page.text
    assert "The beginning" not in page.text
    with in_database(app):
        (event,) = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "delivery.read"))
    assert (event.actor_name, event.object_id) == (alice.email, hook.phone_system_id)
    assert "read a delivery that was not understood" in alice_visits.open("/audit").text


@on_sqlite
def test_it_says_when_only_the_beginning_is_there_when_nothing_is_and_when_it_cannot_be_shown(app, alice_visits, hook):
    hook.deliver(b"x" * 70_000)
    page = one_of(alice_visits, hook)
    assert "This is the beginning: 16 KiB of it are kept." in page.text
    assert "it is larger than 64 KiB" in page.text
    app.extensions["rate_limiter"].storage.reset()
    hook.deliver(b"", content_type="text/plain")
    assert "Nothing: the body was empty." in one_of(alice_visits, hook).text
    with in_database(app):
        db.session.execute(text("UPDATE unreadable_deliveries SET content_encrypted = NULL"))
        db.session.commit()
    assert "It cannot be shown any more" in one_of(alice_visits, hook).text


def test_all_are_deleted_after_a_page_that_asks(app, alice_visits, hook):
    hook.deliver(b"src=1")
    page = alice_visits.open(page_of(hook))
    page = alice_visits.open(f"{page_of(hook)}/unreadable-deliveries/clear")
    page = alice_visits.send(page, "Delete them")
    assert "Deleted: 1 delivery that was not understood." in page.text
    assert not page.soup.select("#unreadable")
    page = alice_visits.send(alice_visits.open(f"{page_of(hook)}/unreadable-deliveries/clear"), "Delete them")
    assert "There was nothing to delete any more." in page.text
    with in_database(app):
        assert db.session.scalars(select(UnreadableDelivery)).all() == []


@on_sqlite
def test_others_do_not_see_it(app, hook, bob, charlie, alice_visits):
    hook.deliver(b"src=1")
    address = alice_visits.open(page_of(hook)).soup.select_one("#unreadable ~ .table-card tbody a")["href"]
    assert signed_in_visitor(app, charlie).client.get(address).status_code == 404
    assert signed_in_visitor(app, bob).client.get(address).status_code == 403
