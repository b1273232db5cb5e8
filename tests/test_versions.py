"""Of two changes made for the same version of an object the second is told, and nothing of it is stored."""

import threading
from collections.abc import Callable
from functools import partial
from uuid import UUID

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text, update
from werkzeug.test import TestResponse

from app.extensions import db
from app.integrations.service import Integrations
from tests.conftest import in_database
from tests.test_integrations import noun, stored_secret

__all__ = ["noun"]


def all_at_once(*requests: Callable[[], TestResponse]) -> list[TestResponse]:
    """The answers to requests that wait for each other before they begin, in their order."""
    barrier = threading.Barrier(len(requests), timeout=30)
    answers: list[TestResponse] = [None] * len(requests)

    def send(number: int) -> None:
        barrier.wait()
        answers[number] = requests[number]()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_each_change_makes_a_new_version(alice, noun):
    created = noun.create(alice)
    assert created["version"] == 1
    assert alice.client.patch(created["location"], json=noun.change).json["version"] == 2
    assert alice.client.patch(created["location"], json={noun.secret: "hunter2"}).json["version"] == 3
    assert alice.client.get(created["location"]).json["version"] == 3
    assert alice.client.get(noun.url).json["items"][0]["version"] == 3


def test_what_changes_nothing_makes_no_new_version(alice, noun):
    created = noun.create(alice)
    changed = alice.client.patch(created["location"], json=noun.change).json
    for nothing in ({}, {"version": 2}, noun.change, noun.change | {"version": 2}):
        answer = alice.client.patch(created["location"], json=nothing)
        assert (answer.status_code, answer.json["version"]) == (200, 2)
        assert answer.json["updated_at"] == changed["updated_at"]


def test_a_change_of_an_outdated_version_is_told_and_not_stored(app, alice, noun):
    created = noun.create(alice, **{noun.secret: "hunter2"})
    alice.client.patch(created["location"], json=noun.change | {"version": 1})
    before = alice.client.get(created["location"]).json
    for version in (1, 3, 2**31 - 1):
        answer = alice.client.patch(created["location"], json=noun.full | {noun.secret: "other", "version": version})
        assert (answer.status_code, answer.content_type) == (409, "application/problem+json")
        assert "read it again" in answer.json["detail"]
    assert alice.client.get(created["location"]).json == before
    assert stored_secret(app, noun, created) == "hunter2"
    again = alice.client.patch(created["location"], json=noun.full | {"version": before["version"]})
    assert (again.status_code, again.json["version"]) == (200, 3)


def test_an_outdated_version_is_not_deleted(alice, noun):
    location = noun.create(alice)["location"]
    alice.client.patch(location, json=noun.change)
    assert alice.client.delete(f"{location}?version=1").status_code == 409
    assert alice.client.get(location).json["version"] == 2
    assert alice.client.delete(f"{location}?version=2").status_code == 204


def test_who_names_no_version_changes_whichever_it_is(alice, noun):
    location = noun.create(alice)["location"]
    for version in (2, 3):
        assert alice.client.patch(location, json={noun.secret: f"hunter{version}"}).json["version"] == version
    assert alice.client.delete(location).status_code == 204


def test_what_is_no_version_is_refused(alice):
    location = alice.client.post("/api/api-credentials", json={"name": "n", "provider": "p"}).headers["Location"]
    for version in (0, -1, 2**31, 1.0, "1", True, None, [1]):
        answer = alice.client.patch(location, json={"name": "other", "version": version})
        assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (422, ["version"])
    for query in ("version=0", "version=-1", f"version={2**31}", "version=", "version=x", "version=1.5", "versions=1"):
        assert alice.client.delete(location, query_string=query).status_code == 422, query
    assert alice.client.get(location).json["name"] == "n"


def test_a_version_cannot_be_chosen(alice, noun):
    answer = alice.client.post(noun.url, json=noun.minimal | {"version": 7})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "version")


def test_of_two_changes_at_once_one_wins_and_the_other_is_told(app, alice, noun):
    created = noun.create(alice)
    for version in range(1, 6):
        changes = [{noun.secret: secret, "version": version} for secret in (f"one {version}", f"two {version}")]
        answers = all_at_once(*(partial(alice.client.patch, created["location"], json=change) for change in changes))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (winner,) = [change for change, answer in zip(changes, answers, strict=True) if answer.status_code == 200]
        assert stored_secret(app, noun, created) == winner[noun.secret]
        assert alice.client.get(created["location"]).json["version"] == version + 1


def test_of_a_change_and_a_deletion_at_once_one_wins(alice, noun):
    for _ in range(3):
        location = noun.create(alice)["location"]
        changed, deleted = all_at_once(
            partial(alice.client.patch, location, json=noun.change | {"version": 1}),
            partial(alice.client.delete, location, query_string="version=1"),
        )
        assert (changed.status_code, deleted.status_code) in {(200, 409), (404, 204)}
        assert alice.client.get(location).status_code == changed.status_code


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_the_database_refuses_what_did_not_wait_its_turn(app, alice, noun, monkeypatch, method):
    """As from code that forgets to lock the row: the version was the right one when it was read."""
    created = noun.create(alice)
    read = Integrations.get

    def changed_meanwhile(self, session, tenant_id, row_id, **options):
        row = read(self, session, tenant_id, row_id, **options)
        session.connection().execute(update(noun.model.__table__).values(version=2))
        return row

    with monkeypatch.context() as patched:
        patched.setattr(Integrations, "get", changed_meanwhile)
        answer = alice.client.open(
            created["location"], method=method, json=noun.change | {"version": 1} if method == "PATCH" else None
        )
    assert (answer.status_code, answer.content_type) == (409, "application/problem+json")
    assert created.items() >= alice.client.get(created["location"]).json.items()


def test_the_migration_gives_existing_rows_the_first_version_and_can_be_undone(app, alice, noun):
    noun.create(alice)
    noun.create(alice)
    table = noun.model.__tablename__
    with in_database(app):
        migrations = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
        db.engine.dispose()
        try:
            flask_migrate.downgrade(revision=migrations.get_revision("0004").down_revision)
            assert "version" not in {column["name"] for column in inspect(db.engine).get_columns(table)}
        finally:
            flask_migrate.upgrade()
        copied = [name for name, column in noun.model.__table__.c.items() if not column.computed]
        copied = ", ".join(set(copied) - {"id", "version"})
        with db.engine.begin() as connection:  # as a process of the release before would
            insert = f"INSERT INTO {table} (id, {copied}) SELECT :id, {copied} FROM {table} LIMIT 1"
            connection.execute(text(insert), {"id": UUID(int=0).hex})
            assert connection.scalars(select(noun.model.version)).all() == [1, 1, 1]
