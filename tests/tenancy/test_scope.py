"""What the ORM does on both databases: rows of the scope's tenant, an error without a scope, never everything."""

import threading

import pytest
from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.orm import aliased, joinedload, selectinload
from sqlalchemy.orm.exc import ObjectDeletedError

from app.extensions import db
from app.identity.models import Membership, Role, User
from app.phone_systems.models import PhoneSystem
from app.tenancy import ScopeError, current_tenant, system_scope, tenant_scope
from app.tenants.models import Tenant
from tests.conftest import in_database
from tests.tenancy.conftest import names

Other = aliased(PhoneSystem)


def all_memberships(user):
    db.session.expunge_all()
    return sum(len(user.memberships) for user in db.session.scalars(user).unique())


# Each counts phone systems or memberships: the tenant acme has one phone system and two members.
READING = {
    "objects": lambda: len(db.session.scalars(select(PhoneSystem)).all()),
    "columns": lambda: len(db.session.execute(select(PhoneSystem.id, PhoneSystem.name)).all()),
    "an alias": lambda: len(db.session.scalars(select(Other)).all()),
    "a count": lambda: db.session.scalar(select(func.count()).select_from(PhoneSystem)),
    "a count of a column": lambda: db.session.scalar(select(func.count(PhoneSystem.id))),
    "a join": lambda: len(
        db.session.scalars(select(Tenant.id).join(PhoneSystem, PhoneSystem.tenant_id == Tenant.id)).all()
    ),
    "a subquery": lambda: len(db.session.execute(select(select(PhoneSystem.id).subquery())).all()),
    "a scalar subquery": lambda: db.session.scalar(
        select(select(func.count()).select_from(PhoneSystem).scalar_subquery())
    ),
    "exists": lambda: len(
        db.session.scalars(select(Tenant.id).where(exists().where(PhoneSystem.tenant_id == Tenant.id))).all()
    ),
    "a union": lambda: len(db.session.execute(select(PhoneSystem.id).union(select(Other.id))).all()),
    "a legacy query": lambda: db.session.query(PhoneSystem).count(),
    "a join from the members": lambda: len(db.session.scalars(select(User.id).join(User.memberships)).all()) - 1,
    "any of the members": lambda: len(db.session.scalars(select(User.id).where(User.memberships.any())).all()) - 1,
    "a joined load": lambda: all_memberships(select(User).options(joinedload(User.memberships))) - 1,
    "a select-in load": lambda: all_memberships(select(User).options(selectinload(User.memberships))) - 1,
    "a lazy load": lambda: all_memberships(select(User)) - 1,
}


def test_reading_sees_the_scopes_tenant_alone(app, stored, in_scope):
    assert {name: count() for name, count in READING.items()} == dict.fromkeys(READING, 1)


def test_reading_without_a_scope_is_an_error(app, stored):
    with app.app_context():
        for count in READING.values():
            with pytest.raises(ScopeError):
                count()


def test_the_system_sees_all_tenants(app, stored):
    with in_database(app):
        assert {name: count() for name, count in READING.items()} == dict.fromkeys(READING, 2)


def test_the_same_statement_serves_one_tenant_after_the_other(app, stored, alice, charlie):
    statement = select(PhoneSystem.id)
    for person, row in ((alice, stored.ours), (charlie, stored.theirs), (alice, stored.ours)):
        with app.app_context(), tenant_scope(person.tenant_id):
            assert db.session.scalars(statement).all() == [row]


WRITING = {
    "update": lambda: db.session.execute(update(PhoneSystem).values(name="changed")),
    "update of another": lambda: db.session.execute(
        update(PhoneSystem).where(PhoneSystem.tenant_id != current_tenant()).values(name="crossed")
    ),
    "delete of another": lambda: db.session.execute(
        delete(PhoneSystem).where(PhoneSystem.tenant_id != current_tenant())
    ),
    "legacy update": lambda: db.session.query(PhoneSystem).update({"name": "changed"}),
}


@pytest.mark.parametrize("write", WRITING.values(), ids=WRITING.keys())
def test_changing_in_bulk_reaches_the_scopes_tenant_alone(app, stored, alice, write):
    with app.app_context(), tenant_scope(alice.tenant_id):
        write()
        db.session.commit()
    assert names(app) in ({"PBX"}, {"PBX", "changed"})


@pytest.mark.parametrize("write", [WRITING["update"], WRITING["legacy update"]])
def test_changing_in_bulk_without_a_scope_is_an_error(app, stored, write):
    with app.app_context(), pytest.raises(ScopeError):
        write()
    assert names(app) == {"PBX"}


def foreign():
    """Charlie's phone system, held by a session that has meanwhile come to work for Alice."""
    with system_scope():
        row = db.session.scalars(select(PhoneSystem).where(PhoneSystem.tenant_id != _alice())).one()
        db.session.commit()
    return row


def _alice():
    return db.session.scalars(select(Tenant.id).where(Tenant.subdomain == "acme")).one()


def the_other_tenant():
    with system_scope():
        tenant = db.session.scalars(select(Tenant).where(Tenant.subdomain == "others")).one()
        db.session.commit()
    return tenant


def new(**values):
    return PhoneSystem(name="crossed", vendor="asterisk", **values)


def moved_away():
    row = db.session.scalars(select(PhoneSystem)).one()
    row.tenant_id, row.name = the_other_tenant().id, "crossed"


CROSSING = {
    "a new row": lambda: db.session.add(new(tenant_id=the_other_tenant().id)),
    "a new row by its relationship": lambda: db.session.add(
        Membership(user=db.session.scalars(select(User)).first(), tenant=the_other_tenant(), role=Role.OWNER)
    ),
    "a row without a tenant": lambda: db.session.add(new()),
    "a changed row": lambda: setattr(foreign(), "name", "crossed"),
    "a row moved here": lambda: setattr(foreign(), "tenant_id", current_tenant()),
    "a row moved away": moved_away,
    "a deleted row": lambda: db.session.delete(foreign()),
    "a merged row": lambda: db.session.merge(
        PhoneSystem(id=foreign().id, tenant_id=the_other_tenant().id, name="crossed")
    ),
}


@pytest.mark.parametrize("cross", CROSSING.values(), ids=CROSSING.keys())
def test_writing_a_row_of_another_tenant_is_an_error(app, stored, alice, cross):
    with app.app_context(), tenant_scope(alice.tenant_id):
        cross()
        with pytest.raises(ScopeError):
            db.session.commit()
    assert names(app) == {"PBX"}


@pytest.mark.parametrize("cross", [CROSSING["a row without a tenant"], CROSSING["a changed row"]])
def test_writing_a_row_without_a_scope_is_an_error(app, stored, cross):
    with app.app_context():
        cross()
        with pytest.raises(ScopeError):
            db.session.commit()
    assert names(app) == {"PBX"}


BULK = {
    "insert": lambda: db.session.execute(
        insert(PhoneSystem), [{"tenant_id": the_other_tenant().id, "name": "crossed", "vendor": "asterisk"}]
    ),
    "insert of values": lambda: db.session.execute(
        insert(PhoneSystem).values(tenant_id=the_other_tenant().id, name="crossed", vendor="asterisk")
    ),
    "update by key": lambda: db.session.execute(update(PhoneSystem), [{"id": foreign().id, "name": "crossed"}]),
}


@pytest.mark.parametrize("write", BULK.values(), ids=BULK.keys())
def test_bulk_statements_that_no_criterion_reaches_are_refused(app, stored, alice, write):
    with app.app_context(), tenant_scope(alice.tenant_id):
        with pytest.raises(ScopeError):
            write()
        db.session.rollback()
    assert names(app) == {"PBX"}


def test_a_bulk_insert_of_own_rows_is_fine(app, stored, alice):
    row = {"tenant_id": alice.tenant_id, "name": "changed", "vendor": "asterisk"}
    with app.app_context(), tenant_scope(alice.tenant_id):
        db.session.execute(insert(PhoneSystem), [row, row])
        db.session.execute(insert(PhoneSystem), row)
        db.session.commit()
    assert names(app) == {"PBX", "changed"}


def test_get_does_not_find_another_tenants_row(app, stored, in_scope):
    assert db.session.get(PhoneSystem, stored.theirs) is None
    assert db.session.get(PhoneSystem, stored.ours).name == "PBX"


def test_get_does_not_find_what_the_session_holds_from_another_scope(app, stored, in_scope):
    held = foreign()
    assert held in db.session
    assert db.session.get(PhoneSystem, stored.theirs) is None
    with pytest.raises(NoResultFound):
        db.session.get_one(PhoneSystem, stored.theirs)


def test_get_without_a_scope_is_an_error_even_for_what_the_session_holds(app, stored):
    with app.app_context():
        held = foreign()
        with pytest.raises(ScopeError):
            db.session.get(PhoneSystem, held.id)


def test_what_the_session_holds_from_another_scope_is_not_loaded_again(app, stored, in_scope):
    held = foreign()
    with pytest.raises(InvalidRequestError):
        db.session.refresh(held)
    db.session.expire(held)
    with pytest.raises(ObjectDeletedError):
        _ = held.name


def test_an_own_row_is_loaded_again(app, stored, in_scope):
    held = db.session.get(PhoneSystem, stored.ours)
    db.session.refresh(held)
    db.session.expire(held)
    assert held.name == "PBX"


def test_the_tenant_cannot_change_inside_an_open_transaction(app, stored, alice, charlie):
    with app.app_context():
        with tenant_scope(alice.tenant_id):
            assert db.session.scalars(select(PhoneSystem.id)).all() == [stored.ours]
        for scope in (tenant_scope(charlie.tenant_id), system_scope()):
            with scope, tenant_scope(charlie.tenant_id), pytest.raises(ScopeError, match="inside an open transaction"):
                db.session.scalars(select(PhoneSystem.id)).all()
        with tenant_scope(alice.tenant_id):
            assert db.session.scalars(select(PhoneSystem.id)).all() == [stored.ours]
        db.session.commit()
        with tenant_scope(charlie.tenant_id):
            assert db.session.scalars(select(PhoneSystem.id)).all() == [stored.theirs]


def test_scopes_inside_each_other_end_where_they_should(app, stored, alice):
    count = select(func.count()).select_from(PhoneSystem)
    with app.app_context():
        with tenant_scope(alice.tenant_id):
            assert db.session.scalar(count) == 1
            with system_scope():
                assert db.session.scalar(count) == 2
                with tenant_scope(alice.tenant_id):
                    assert db.session.scalar(count) == 1
                assert db.session.scalar(count) == 2
            assert db.session.scalar(count) == 1
        with pytest.raises(ScopeError):
            db.session.scalar(count)


def test_a_scope_is_left_when_its_block_raises(alice):
    with pytest.raises(ZeroDivisionError), tenant_scope(alice.tenant_id):
        _ = 1 / 0
    with pytest.raises(ScopeError):
        current_tenant()


def test_a_scope_is_its_threads_own(alice):
    found = []

    def look():
        try:
            found.append(current_tenant())
        except ScopeError:
            found.append(None)

    with tenant_scope(alice.tenant_id):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [None]


def test_a_request_leaves_its_scope_however_it_ends(app, stored, alice, charlie, bob):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/api/me/broken", "me.broken", lambda: 1 / 0)
    seen = []
    for person, url, status in (
        (alice, "/api/phone-systems", 200),
        (charlie, f"/api/phone-systems/{stored.ours}", 404),
        (bob, "/api/phone-systems", 403),
        (alice, "/api/me/broken", 500),
        (charlie, "/api/phone-systems", 200),
    ):
        answer = person.client.get(url)
        assert answer.status_code == status
        seen += [row["id"] for row in answer.json.get("items", [])]
        with pytest.raises(ScopeError):
            current_tenant()
    assert seen == [str(stored.ours), str(stored.theirs)]


def test_a_view_that_forgets_the_filter_sees_its_tenant_alone(app, stored, alice, charlie):
    rule = {"endpoint": "me.forgetful", "view_func": lambda: [str(row.id) for row in db.session.query(PhoneSystem)]}
    app.add_url_rule("/api/me/forgetful", **rule)
    assert alice.client.get("/api/me/forgetful").json == [str(stored.ours)]
    assert charlie.client.get("/api/me/forgetful").json == [str(stored.theirs)]


def test_a_public_view_that_asks_for_tenants_rows_fails(app, client, stored):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/forgetful", "status.forgetful", lambda: [str(row.id) for row in db.session.query(PhoneSystem)])
    answer = client.get("/forgetful")
    assert answer.status_code == 500
    assert str(stored.ours) not in answer.text
