"""When phone systems last delivered, and were last refused."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, select, text, update

from app.audit import service as audit
from app.audit import tally
from app.audit.models import AuditEvent
from app.calls.models import Call
from app.database import now
from app.extensions import db
from app.phone_systems import health
from app.phone_systems.health import health_of
from app.tenancy import tenant_scope
from tests.calls.conftest import hook, make_hook
from tests.conftest import in_database

__all__ = ["hook"]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FORM = "application/x-www-form-urlencoded"
OF_DELIVERIES = AuditEvent.action.startswith("delivery.")
NOTHING = {"records": 0, "refused": 0, "unreadable": 0}
UNKNOWN = {"last_delivery_at": None, "last_refusal": None, "last_24_hours": NOTHING}


def id_of(hook) -> UUID:
    return UUID(hook.path.split("/")[3])


def shown(person, hook):
    answer = person.client.get(f"/api/phone-systems/{id_of(hook)}/health")
    assert answer.status_code == 200, answer.json
    return answer.json


def refuse(hook, *addresses):
    """Deliveries with a wrong password that are in the audit trail by now."""
    for address in addresses:
        environ = {"REMOTE_ADDR": address}
        assert hook.deliver(credentials=("", "wrong"), environ_overrides=environ).status_code == 401
    with hook.app.app_context():
        tally.store_counted()


def of_alice(app, alice, hooks):
    with app.app_context(), tenant_scope(alice.tenant_id):
        return health_of(db.session(), alice.tenant_id, [id_of(hook) for hook in hooks])


def test_of_a_new_phone_system_nothing_is_known(alice, hook):
    assert shown(alice, hook) == UNKNOWN


def test_the_last_delivery_is_the_newest_record_that_a_pbx_delivered(app, alice, hook):
    assert hook.deliver().status_code == 201
    first = shown(alice, hook)["last_delivery_at"]
    (call,) = hook.stored()
    assert datetime.fromisoformat(first) == call.received_at
    assert make_hook(app, alice).deliver().status_code == 201
    assert shown(alice, hook)["last_delivery_at"] == first, "not that of another phone system"
    with in_database(app):
        db.session.execute(update(Call).values(received_at=now() - timedelta(days=2)))
        db.session.commit()
    assert shown(alice, hook)["last_delivery_at"] < first
    with in_database(app):
        db.session.execute(update(Call).values(demonstration=True))
        db.session.commit()
    assert shown(alice, hook) == UNKNOWN


def test_the_last_refusal_is_told_with_its_network_and_how_many_there_were(app, alice, hook):
    refuse(hook, "203.0.113.9")
    began = datetime.now(UTC)
    refuse(hook, "2001:db8::1", "2001:db8::2", "2001:db8::3")
    refusal = shown(alice, hook)["last_refusal"]
    assert (refusal["address"], refusal["count"]) == ("2001:db8::/64", 3)
    assert began <= datetime.fromisoformat(refusal["first_at"]) < datetime.fromisoformat(refusal["last_at"])
    assert shown(alice, make_hook(app, alice)) == UNKNOWN


@on_sqlite
def test_of_refusals_that_were_stored_together_the_last_one_is_told(alice, hook):
    refuse(hook, "203.0.113.9", "198.51.100.7", "203.0.113.9")
    refusal = shown(alice, hook)["last_refusal"]
    assert (refusal["address"], refusal["count"]) == ("203.0.113.9", 2)


def test_what_was_counted_meanwhile_is_told_at_once_to_who_may_know_it_and_stays_with_others(app, alice, charlie, hook):
    for _ in range(2):
        assert hook.deliver(credentials=("", "wrong")).status_code == 401
    theirs = make_hook(app, charlie)
    assert theirs.deliver(credentials=("", "wrong")).status_code == 401
    assert shown(alice, hook)["last_refusal"]["count"] == 2
    assert hook.deliver(credentials=("", "wrong")).status_code == 401
    assert shown(alice, hook)["last_refusal"]["count"] == 1
    with in_database(app):
        stored = db.session.execute(select(AuditEvent.tenant_id, AuditEvent.count).where(OF_DELIVERIES)).all()
    assert sorted(count for tenant_id, count in stored) == [1, 2]
    assert {tenant_id for tenant_id, count in stored} == {alice.tenant_id}
    assert shown(charlie, theirs)["last_refusal"]["count"] == 1


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"{", "application/json", "it is not in the format that its Content-Type names"),
        (b"x" * 70_000, FORM, "it is larger than 64 KiB"),
        (b"<cdr/>", "application/xml", "it is of another content type"),
        (b"src=5551234", FORM, "uniqueid is missing"),
        (b"secret5551234=" + b"x" * 5_000, FORM, "a field is longer than 4096 characters"),
    ],
)
def test_a_delivery_that_is_not_understood_is_told_with_the_reason_and_nothing_of_it(
    app, alice, hook, body, content_type, reason
):
    assert hook.deliver(body, content_type=content_type).status_code in (400, 413, 415, 422)
    refusal = shown(alice, hook)["last_refusal"]
    assert (refusal["unreadable"], refusal["count"], refusal["address"]) == (reason, 1, "127.0.0.1")
    with in_database(app):
        (stored,) = db.session.scalars(select(AuditEvent).where(OF_DELIVERIES))
    assert (stored.action, stored.outcome, stored.object_id) == ("delivery.unreadable", "refused", id_of(hook))
    assert stored.details == {"reason": reason}
    refuse(hook, "203.0.113.9")
    assert shown(alice, hook)["last_refusal"]["unreadable"] is None, "the last of either kind"


@on_sqlite
def test_a_refusal_without_times_of_its_own_has_those_of_its_event(app, alice, hook):
    with in_database(app):
        audit.record(
            db.session(), "delivery.refused", object_id=id_of(hook), outcome="refused", tenant_id=alice.tenant_id
        )
        db.session.commit()
        refused = select(AuditEvent.occurred_at).where(AuditEvent.action == "delivery.refused")
        occurred_at = db.session.scalars(refused).one()
    refusal = shown(alice, hook)["last_refusal"]
    assert [datetime.fromisoformat(refusal[name]) for name in ("first_at", "last_at")] == [occurred_at] * 2
    assert (refusal["address"], refusal["count"]) == (None, 1)


def test_nobody_learns_how_another_tenants_phone_system_is(app, alice, bob, charlie, hook):
    hook.deliver()
    refuse(hook, "203.0.113.9")
    theirs = make_hook(app, charlie)
    theirs.deliver()
    path = f"/api/phone-systems/{id_of(hook)}/health"
    assert (charlie.client.get(path).status_code, bob.client.get(path).status_code) == (404, 403)
    assert charlie.client.get(f"/api/phone-systems/{uuid4()}/health").status_code == 404
    assert of_alice(app, alice, [hook, theirs]).keys() == {id_of(hook)}


def test_of_a_deleted_phone_system_nothing_is_told_and_others_do_not_get_its_calls(app, alice, hook):
    other = make_hook(app, alice)
    hook.deliver()
    assert alice.client.delete(f"/api/phone-systems/{id_of(hook)}").status_code == 204
    assert alice.client.get(f"/api/phone-systems/{id_of(hook)}/health").status_code == 404
    assert of_alice(app, alice, [hook, other]) == {id_of(other): health.Health(None, None)}


def test_any_number_of_them_takes_two_statements(app, alice):
    hooks = [make_hook(app, alice) for _ in range(5)]
    for made in hooks[:3]:
        made.deliver()
        refuse(made, "203.0.113.9")
    statements = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    for some in (hooks[:1], hooks):
        statements.clear()
        found = of_alice(app, alice, some)
        assert len([statement for statement in statements if "FROM phone_systems" in statement]) == 1
        assert len([statement for statement in statements if statement.startswith("SELECT audit_events")]) == 1
        assert len([statement for statement in statements if "\nFROM" in statement]) == 2
        assert found.keys() == {id_of(hook) for hook in some}
    assert [found[id_of(hook)].last_delivery_at is not None for hook in hooks] == [True] * 3 + [False] * 2
    assert [found[id_of(hook)].last_refusal is not None for hook in hooks] == [True] * 3 + [False] * 2
    assert of_alice(app, alice, []) == {}


def test_both_are_found_by_index(app, alice, hook):
    """However many calls and events there are. Of a few rows a database would rather look at all."""
    with app.app_context(), tenant_scope(alice.tenant_id):
        connection = db.session.connection()
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        seen = []
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2:4]))
        health_of(db.session(), alice.tenant_id, [id_of(hook)])
        statement, parameters = next(one for one in seen if "FROM phone_systems" in one[0])
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
    assert "ix_calls_phone_system_id_received_at" in plan
    assert "ix_audit_events_tenant_id_object_id_id" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


def test_an_event_of_another_tenant_about_the_same_id_is_not_told(app, alice, charlie, hook):
    """No code of ours makes one."""
    with in_database(app):
        audit.record(
            db.session(), "delivery.refused", object_id=id_of(hook), outcome="refused", tenant_id=charlie.tenant_id
        )
        db.session.commit()
    assert shown(alice, hook) == UNKNOWN
