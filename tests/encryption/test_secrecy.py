"""Nothing that prints, pickles, logs or fails shows a plaintext or a key."""

import base64
import copy
import logging
import pickle
import traceback
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import CompileError, DBAPIError, StatementError

from app.encryption.column import Pending
from app.extensions import db
from app.phone_systems.models import PhoneSystem
from tests.encryption.databases import new_key

PLAINTEXT = "pa55-in-the-clear"


@pytest.fixture
def system(session, tenants):
    """A row whose secret is assigned and not sealed yet."""
    system = PhoneSystem(tenant_id=tenants[0], name="n", vendor="v", password=PLAINTEXT)
    session.add(system)
    return system


def everything_said_by(error):
    said = [repr(error), str(error), "".join(traceback.format_exception(error))]
    return "\n".join(said)


def test_a_pending_secret_prints_as_a_remark(system):
    assert repr(system.__dict__["password_encrypted"]) == "<secret, not sealed yet>"
    for shown in (repr(vars(system)), str(vars(system)), f"{system} {system!r}", repr([system.password_encrypted])):
        assert PLAINTEXT not in shown
    with pytest.raises(TypeError):
        vars(Pending(b"x"))


@pytest.mark.parametrize("spread", [copy.copy, copy.deepcopy, *(lambda o, n=n: pickle.dumps(o, n) for n in range(6))])
def test_a_pending_secret_is_neither_pickled_nor_copied(spread):
    with pytest.raises(TypeError, match="cannot be copied or pickled") as refusal:
        spread(Pending(PLAINTEXT.encode()))
    assert PLAINTEXT not in everything_said_by(refusal.value)


@pytest.mark.parametrize("spread", [copy.deepcopy, pickle.dumps])
def test_a_row_with_a_pending_secret_is_neither_pickled_nor_copied(spread, system):
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        spread(system)


def test_a_loaded_row_is_pickled_sealed_and_read_after_it(session, system):
    session.commit()
    assert system.password == PLAINTEXT
    session.refresh(system)
    pickled = pickle.dumps(system)
    assert PLAINTEXT.encode() not in pickled
    assert pickle.loads(pickled).password == PLAINTEXT


def test_reading_leaves_no_plaintext_in_the_row(session, system):
    session.commit()
    assert system.password == PLAINTEXT
    assert PLAINTEXT not in repr(vars(system))
    assert PLAINTEXT not in repr(vars(system._sa_instance_state))


@pytest.fixture
def loud(caplog):
    """Everything is logged: statements, parameters, rows, the pool, the unit of work."""
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool", "alembic", "psycopg", "app"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def test_the_log_of_everything_shows_no_plaintext_and_no_key(loud, database, capfd):
    key, fallback = new_key(), new_key()
    with database.start(key, fallback).app_context():
        db.engine.echo = "debug"
        system = PhoneSystem(tenant_id=database.new_tenant(), name="n", vendor="v", password=PLAINTEXT)
        db.session.add(system)
        db.session.commit()
        assert system.password == PLAINTEXT
        system.tenant_id, system.webhook_password = database.new_tenant(), PLAINTEXT
        db.session.commit()
        for statement in (
            insert(PhoneSystem).values(name=PLAINTEXT, vendor="v", id=uuid4()),
            insert(PhoneSystem).values(password_encrypted=PLAINTEXT),
            update(PhoneSystem).values(password_encrypted=Pending(PLAINTEXT.encode())),
        ):
            with pytest.raises(StatementError):
                db.session.execute(statement)
            db.session.rollback()
    output = loud.text + "".join(capfd.readouterr())
    assert "INSERT INTO phone_systems" in output
    assert "hide_parameters" in output
    assert PLAINTEXT not in output
    for secret in (key, fallback):
        for spelling in (secret, base64.urlsafe_b64encode(bytes.fromhex(secret)).decode()[:-1]):
            assert spelling.lower() not in output.lower()


def test_a_refused_parameter_is_not_in_the_error(session):
    for value in (PLAINTEXT, Pending(PLAINTEXT.encode())):
        with pytest.raises(StatementError, match="only a sealed value may be stored") as failure:
            session.execute(update(PhoneSystem).values(password_encrypted=value))
        assert PLAINTEXT not in everything_said_by(failure.value)
        session.rollback()


def test_a_failed_flush_tells_neither_plaintext_nor_other_parameters(session, system):
    system.tenant_id = uuid4()  # nobody's
    system.username = PLAINTEXT
    with pytest.raises(DBAPIError) as failure:
        session.flush()
    assert PLAINTEXT not in everything_said_by(failure.value)
    session.rollback()


def test_a_comparison_with_a_plaintext_is_refused_without_telling_it(session):
    with pytest.raises(StatementError) as failure:
        session.execute(select(PhoneSystem).where(PhoneSystem.password_encrypted == PLAINTEXT))
    assert PLAINTEXT not in everything_said_by(failure.value)


def test_a_pending_secret_is_not_rendered_as_a_literal():
    statement = update(PhoneSystem).values(password_encrypted=Pending(PLAINTEXT.encode()))
    with pytest.raises(CompileError) as failure:
        statement.compile(compile_kwargs={"literal_binds": True})
    assert PLAINTEXT not in everything_said_by(failure.value)
    assert PLAINTEXT not in str(statement)


def test_a_value_that_does_not_open_fails_without_showing_it_or_a_key(app, session, system, database, tenants):
    session.commit()
    value = database.all("SELECT password_encrypted FROM phone_systems WHERE id = :id", id=system.id)[0][0]
    database.all("UPDATE phone_systems SET tenant_id = :other WHERE id = :id", other=tenants[1], id=system.id)
    session.expire_all()
    with pytest.raises(Exception, match="does not open") as failure:
        _ = system.password
    said = everything_said_by(failure.value)
    assert value[12:] not in said
    assert PLAINTEXT not in said
    for secret in app.extensions["encryption"].keyring.secrets():
        assert secret.hex() not in said


def test_every_engine_hides_parameters(app):
    with pytest.raises(DBAPIError) as failure:
        db.session.execute(text("SELECT nothing FROM nowhere WHERE secret = :secret"), {"secret": PLAINTEXT})
    assert PLAINTEXT not in everything_said_by(failure.value)
    assert db.engine.hide_parameters
