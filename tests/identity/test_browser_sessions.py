"""Sessions that nobody renews, and going on from one tenant to another."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.database import now
from app.errors import Unauthenticated
from app.extensions import db
from app.identity import sessions
from app.identity.authentication import memberships_of
from app.identity.models import Membership, Role, User, UserSession
from app.tenancy import tenant_scope
from app.tenants.models import Tenant
from tests.conftest import in_database
from tests.one_time import statements


def change(app, statement):
    with in_database(app):
        db.session.execute(statement)
        db.session.commit()


def set_used_at(app, person, ago):
    """Returns when it was."""
    moment = now() - ago
    change(app, update(UserSession).where(UserSession.id == person.session_id).values(used_at=moment))
    return moment


def used_at(app, person):
    with in_database(app):
        return db.session.get_one(UserSession, person.session_id).used_at


@contextmanager
def page_of(app, person):
    """What is done while a page is shown to that person: their session is found, and it is noted that it is used."""
    with app.test_request_context("/"), tenant_scope(person.tenant_id):
        yield sessions.find(db.session(), *person.subject)


class TestNotingUse:
    def test_a_session_is_idle_from_its_last_use_on(self, app, alice, bob):
        almost_idle = sessions_idle(app) - timedelta(minutes=1)
        of_bob = set_used_at(app, bob, almost_idle)
        set_used_at(app, alice, almost_idle)
        before = now()
        with page_of(app, alice) as signed_in:
            sessions.note_use(db.session(), signed_in)
        assert before <= used_at(app, alice) <= now()
        assert used_at(app, bob) == of_bob

    def test_nothing_is_written_before_a_minute_is_over(self, app, alice):
        moment = set_used_at(app, alice, timedelta(seconds=50))
        with page_of(app, alice) as signed_in, statements(app) as seen:
            sessions.note_use(db.session(), signed_in)
        assert seen == []
        assert used_at(app, alice) == moment

    def test_of_several_requests_at_once_one_writes(self, app, alice):
        set_used_at(app, alice, timedelta(minutes=2))
        with page_of(app, alice) as first, page_of(app, alice) as second:
            pass
        with app.app_context(), tenant_scope(alice.tenant_id):
            sessions.note_use(db.session(), first)
            noted = used_at(app, alice)
            sessions.note_use(db.session(), second)
        assert used_at(app, alice) == noted

    def test_whoever_writes_in_between_does_not_stand_in_its_way(self, app, alice, bob):
        set_used_at(app, alice, timedelta(minutes=2))
        with page_of(app, alice) as signed_in:
            with ThreadPoolExecutor(1) as threads:
                threads.submit(set_used_at, app, bob, timedelta(minutes=3)).result()
            sessions.note_use(db.session(), signed_in)
        assert used_at(app, alice) > now() - timedelta(minutes=1)

    def test_an_idle_session_does_not_come_back(self, app, alice):
        set_used_at(app, alice, sessions_idle(app) + timedelta(seconds=1))
        with pytest.raises(Unauthenticated), page_of(app, alice):
            pass


def sessions_idle(app):
    with app.app_context():
        return sessions.lifetime().idle


def join(app, person, subdomain, role=Role.ADMIN, **values):
    """Make somebody a member of a new tenant. Returns the ids of tenant and membership."""
    with in_database(app):
        tenant = Tenant(name=subdomain.title(), subdomain=subdomain, **values)
        membership = Membership(user=db.session.get_one(User, person.user_id), tenant=tenant, role=role)
        db.session.add(membership)
        db.session.commit()
        return tenant.id, membership.id


def choices(app, person):
    with app.app_context():
        return memberships_of(db.session(), person.user_id)


class TestChoice:
    def test_the_tenants_of_a_user_are_listed_the_last_used_first(self, app, alice, bob):
        tenant_id, membership_id = join(app, alice, "zeta")
        join(app, alice, "beta")
        assert [(it.subdomain, it.role) for it in choices(app, alice)] == [
            ("acme", "owner"),
            ("beta", "admin"),
            ("zeta", "admin"),
        ]
        with in_database(app):
            started = sessions.start(db.session(), db.session.get_one(Membership, membership_id), None, "")
        newest = choices(app, alice)[0]
        assert newest == (membership_id, tenant_id, "Zeta", "zeta", "admin", started.used_at)
        assert [it.subdomain for it in choices(app, bob)] == ["acme"]

    def test_the_last_of_several_sessions_counts(self, app, alice):
        _, membership_id = join(app, alice, "beta")
        with in_database(app):
            for _ in range(2):
                sessions.start(db.session(), db.session.get_one(Membership, membership_id), None, "")
        moment = now() + timedelta(seconds=1)
        change(app, update(UserSession).where(UserSession.id == alice.session_id).values(used_at=moment))
        newest, other = choices(app, alice)
        assert (newest.subdomain, newest.last_used_at, other.subdomain) == ("acme", moment, "beta")

    def test_where_nobody_may_sign_in_is_not_listed(self, app, alice):
        join(app, alice, "closed", suspended_at=now())
        _, left = join(app, alice, "left")
        change(app, update(Membership).where(Membership.id == left).values(disabled_at=now()))
        assert [it.subdomain for it in choices(app, alice)] == ["acme"]
        change(app, update(User).where(User.id == alice.user_id).values(disabled_at=now()))
        assert choices(app, alice) == []

    def test_it_is_answered_to_whoever_works_for_one_of_them(self, app, alice):
        join(app, alice, "beta")
        with page_of(app, alice) as signed_in:
            assert len(memberships_of(db.session(), signed_in.user_id)) == 2
            assert db.session.query(Membership).count() == 2  # of acme: Alice and Bob


class TestChangingTenants:
    @pytest.mark.parametrize("authenticated", [timedelta(minutes=4), None])
    def test_the_new_session_is_as_fresh_and_as_old_as_the_one_before(self, app, alice, authenticated):
        proved = now() - authenticated if authenticated else None
        long_ago = now() - timedelta(hours=20)
        values = {"authenticated_at": proved, "started_at": long_ago}
        change(app, update(UserSession).where(UserSession.id == alice.session_id).values(**values))
        _, membership_id = join(app, alice, "beta")
        with page_of(app, alice) as signed_in:
            pass
        with in_database(app):
            membership = db.session.get_one(Membership, membership_id)
            started = sessions.start(db.session(), membership, None, "", continues=signed_in)
            assert (started.authenticated_at, started.started_at) == (proved, long_ago)
            assert started.used_at > now() - timedelta(minutes=1)
            assert started.id != signed_in.id
