"""How connections are set up."""

import os
import stat
from dataclasses import replace

import pytest
from sqlalchemy import text

from app.extensions import db
from app.tenancy import system_scope
from tests.conftest import make_settings, migrate, running, signed_in


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_sqlite_database_is_its_owners_alone(tmp_path, umask):
    path = tmp_path / "instance" / "new.db"
    before = os.umask(umask)
    try:
        with running(make_settings(f"sqlite:///{path}")) as app, app.app_context():
            with db.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"new.db": 0o600, "new.db-shm": 0o600, "new.db-wal": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_reading_again_and_again_uses_prepared_statements_unless_there_is_a_pooler(settings, alice):
    """Which a rollback at the end of each request would make the driver forget."""
    prepared = {}
    for direct in (None, settings.database_url):
        with running(replace(settings, rotation_database_url=direct)) as app:
            app.extensions["encryption"].checked = True
            client = signed_in(app, alice.subject)
            for _ in range(8):
                assert client.get("/api/phone-systems").status_code == 200
            with app.app_context(), system_scope():
                prepared[direct] = db.session.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
    assert prepared[None] >= 2
    assert prepared[settings.database_url] == 0


def test_an_existing_folder_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    migrate(f"sqlite:///{tmp_path / 'new.db'}")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
