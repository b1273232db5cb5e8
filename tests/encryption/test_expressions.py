"""The attribute in SQL: IS NULL can be asked of it, and nothing else."""

import pytest
from sqlalchemy import asc, case, cast, desc, distinct, exists, func, literal, null, select, text, true, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Bundle, Session, aliased
from sqlalchemy.types import String

from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant

Other = aliased(PhoneSystem)

SENSELESS = {
    "select": lambda s, M: s.execute(select(M.password)),
    "select, several": lambda s, M: s.execute(select(M.id, M.password)),
    "select, labelled": lambda s, M: s.execute(select(M.password.label("p"))),
    "select, distinct": lambda s, M: s.execute(select(distinct(M.password))),
    "select, bundle": lambda s, M: s.execute(select(Bundle("b", M.password))),
    "scalar": lambda s, M: s.scalar(select(M.password)),
    "Query": lambda s, M: s.query(M.password).all(),
    "with_entities": lambda s, M: s.query(M).with_entities(M.password).all(),
    "order_by": lambda s, M: s.execute(select(M).order_by(M.password)),
    "order_by, asc": lambda s, M: s.execute(select(M).order_by(asc(M.password))),
    "order_by, desc": lambda s, M: s.execute(select(M).order_by(desc(M.password))),
    "order_by, .desc()": lambda s, M: s.execute(select(M).order_by(M.password.desc())),
    "order_by, nulls last": lambda s, M: s.execute(select(M).order_by(M.password.nulls_last())),
    "group_by": lambda s, M: s.execute(select(func.count()).group_by(M.password)),
    "having": lambda s, M: s.execute(select(M.id).group_by(M.id).having(func.max(M.password) > "a")),
    "func": lambda s, M: s.execute(select(func.length(M.password))),
    "count": lambda s, M: s.execute(select(func.count(M.password))),
    "cast": lambda s, M: s.execute(select(cast(M.password, String))),
    "case": lambda s, M: s.execute(select(case((M.id == M.id, M.password)))),
    "tuple": lambda s, M: s.execute(select(M).where(tuple_(M.id, M.password) == (1, "x"))),
    "subquery": lambda s, M: s.execute(select(select(M.password).scalar_subquery())),
    "exists": lambda s, M: s.execute(select(exists().where(M.password == "s3cret"))),
    "filter_by": lambda s, M: s.execute(select(M).filter_by(password="s3cret")),
    "filter_by, None": lambda s, M: s.execute(select(M).filter_by(password=None)),
    "Query.filter_by": lambda s, M: s.query(M).filter_by(password="s3cret").all(),
    "==": lambda s, M: s.execute(select(M).where(M.password == "s3cret")),
    "== None": lambda s, M: s.execute(select(M).where(M.password == None)),  # noqa: E711
    "!=": lambda s, M: s.execute(select(M).where(M.password != "s3cret")),
    "== itself": lambda s, M: s.execute(select(M).where(M.password == M.password)),
    "== another": lambda s, M: s.execute(select(M).where(M.password == M.webhook_password)),
    "== a column": lambda s, M: s.execute(select(M).where(M.name == M.password)),
    "literal ==": lambda s, M: s.execute(select(M).where(literal("s3cret") == M.password)),
    "<": lambda s, M: s.execute(select(M).where(M.password < "s3cret")),
    "in_": lambda s, M: s.execute(select(M).where(M.password.in_(["s3cret"]))),
    "not_in": lambda s, M: s.execute(select(M).where(M.password.not_in(["s3cret"]))),
    "like": lambda s, M: s.execute(select(M).where(M.password.like("s%"))),
    "ilike": lambda s, M: s.execute(select(M).where(M.password.ilike("s%"))),
    "startswith": lambda s, M: s.execute(select(M).where(M.password.startswith("s"))),
    "contains": lambda s, M: s.execute(select(M).where(M.password.contains("s"))),
    "regexp_match": lambda s, M: s.execute(select(M).where(M.password.regexp_match("s"))),
    "between": lambda s, M: s.execute(select(M).where(M.password.between("a", "z"))),
    "is_distinct_from": lambda s, M: s.execute(select(M).where(M.password.is_distinct_from("s3cret"))),
    "is_, text": lambda s, M: s.execute(select(M).where(M.password.is_("s3cret"))),
    "is_, true": lambda s, M: s.execute(select(M).where(M.password.is_(true()))),
    "is_not, null()": lambda s, M: s.execute(select(M).where(M.password.is_not(null()))),
    "op": lambda s, M: s.execute(select(M).where(M.password.op("=")("s3cret"))),
    "+": lambda s, M: s.execute(select(M.password + "x")),
    "+, reversed": lambda s, M: s.execute(select("x" + M.password)),
    "concat": lambda s, M: s.execute(select(M.password.concat("x"))),
    "not": lambda s, M: s.execute(select(M).where(~M.password)),
    "where": lambda s, M: s.execute(select(M).where(M.password)),
    "join": lambda s, M: s.execute(select(M).join(Tenant, Tenant.name == M.password)),
    "any_": lambda s, M: s.execute(select(M).where(M.password == func.any(postgresql.array(["s3cret"])))),
    "over": lambda s, M: s.execute(select(func.row_number().over(order_by=M.password))),
    "partition": lambda s, M: s.execute(select(func.row_number().over(partition_by=M.password))),
    "filter": lambda s, M: s.execute(select(func.count(M.id).filter(M.password == "s3cret"))),
    "text in between": lambda s, M: s.execute(select(M).where(text("1 = 1"), M.password == "s3cret")),
}


@pytest.mark.parametrize("model", [PhoneSystem, Other], ids=["model", "alias"])
@pytest.mark.parametrize("use", SENSELESS.values(), ids=SENSELESS.keys())
def test_anything_but_is_null_is_refused_with_an_explanation(use, model):
    with pytest.raises(
        InvalidRequestError, match=r"encrypted attribute phone_systems\.password.*is_\(None\)"
    ) as refusal:
        use(Session(), model)  # without a database: it is refused before there is any SQL
    assert "s3cret" not in str(refusal.value)


@pytest.fixture
def two(session, tenants, stored):
    """The names of a row with a password and one without."""
    session.add(PhoneSystem(tenant_id=tenants[1], name="Bare", vendor="v"))
    session.commit()
    return session


IS_NULL = {
    "is_": (lambda M: M.password.is_(None), ["Bare"]),
    "is_not": (lambda M: M.password.is_not(None), ["Reception"]),
    "isnot": (lambda M: M.password.isnot(None), ["Reception"]),
    "not is_": (lambda M: ~M.password.is_(None), ["Reception"]),
    "and": (lambda M: M.password.is_not(None) & M.webhook_password.is_(None), ["Reception"]),
    "both": (lambda M: M.password.is_(None) | M.password.is_not(None), ["Bare", "Reception"]),
}


@pytest.mark.parametrize("model", [PhoneSystem, Other], ids=["model", "alias"])
@pytest.mark.parametrize(("condition", "names"), IS_NULL.values(), ids=IS_NULL.keys())
def test_whether_there_is_a_secret_can_be_asked(condition, names, model, two):
    found = two.scalars(select(model.name).where(condition(model)).order_by(model.name)).all()
    assert found == names
    assert two.query(model).filter(condition(model)).count() == len(names)


def test_whether_there_is_a_secret_can_be_selected_and_counted(two):
    is_set = PhoneSystem.password.is_not(None).label("password_set")
    rows = two.execute(select(PhoneSystem.name, is_set).order_by(is_set))
    assert [tuple(row) for row in rows] == [("Bare", False), ("Reception", True)]
    assert two.scalar(select(func.count()).where(PhoneSystem.password.is_(None))) == 1


def test_a_model_and_its_alias_ask_about_their_own_rows(two):
    pairs = (
        select(PhoneSystem.name, Other.name).join(Other, Other.id != PhoneSystem.id).where(
            PhoneSystem.password.is_(None), Other.password.is_not(None)
        )
    )  # fmt: skip
    assert [tuple(row) for row in two.execute(pairs)] == [("Bare", "Reception")]


def test_whether_related_rows_have_a_secret_can_be_asked(two, tenants):
    with_a_secret = select(PhoneSystem.id).where(PhoneSystem.tenant.has(Tenant.id == tenants[0]))
    found = two.scalars(with_a_secret.where(PhoneSystem.password.is_not(None))).all()
    assert len(found) == 1
    subquery = exists().where(PhoneSystem.tenant_id == Tenant.id, PhoneSystem.password.is_(None))
    assert two.scalars(select(Tenant.id).where(subquery)).all() == [tenants[1]]


def test_the_attribute_is_read_from_the_class_without_harm():
    assert "password" in str(PhoneSystem.password)
    assert hasattr(PhoneSystem, "password")
