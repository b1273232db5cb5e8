"""The ORM's part: every statement on tenants' rows is about the scope's tenant alone.

It reaches what goes through the ORM. Core tables, ``text()`` and the legacy bulk methods go past it; what stops those
is the database: see :mod:`floor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

from flask_sqlalchemy.session import Session
from sqlalchemy import Select, Uuid, bindparam, event
from sqlalchemy.orm import Mapper, ORMExecuteState, attributes, object_session, with_loader_criteria

from app.tenancy.owned import TenantOwned
from app.tenancy.scope import ScopeError, System, current_scope, current_tenant


class TenantSession(Session):
    """The session of the application. What it still holds from another tenant's scope, it does not give out."""

    def get(self, entity: Any, ident: Any, **options: Any) -> Any:
        found = super().get(entity, ident, **options)
        return None if found is not None and _is_foreign(found) else found


# Asked for when a statement that it became a part of is executed, so that one compiled statement serves all tenants,
# and a statement on tenants' rows without a tenant is found wherever in it they are.
_TENANT: Final = bindparam("scope_tenant", callable_=current_tenant, type_=Uuid())
_OWN_ROWS: Final = with_loader_criteria(
    TenantOwned,
    lambda model: model.tenant_id == _TENANT,
    include_aliases=True,
    track_closure_variables=False,
)


@lru_cache(256)
def _only_own_rows_of(statement: Any) -> Any:
    """For a statement that is executed again and again, SQLAlchemy then works out only once what to look for in its
    cache of compiled statements."""
    return statement.options(_OWN_ROWS)


@event.listens_for(TenantSession, "do_orm_execute")
def _only_own_rows(state: ORMExecuteState) -> None:
    if current_scope() is System.ALL_TENANTS:
        return
    mapper, parameters = state.bind_mapper, state.parameters
    owned = mapper is not None and issubclass(mapper.class_, TenantOwned)
    if state.is_column_load:  # of an object that is there already: the ORM adds no criteria
        if owned and mapper is not None:
            loading = cast(Select[Any], state.statement)
            state.statement = loading.where(mapper.class_.tenant_id == current_tenant())
    elif state.is_orm_statement and (state.is_select or state.is_update or state.is_delete):
        if owned and state.is_update and parameters is not None and not isinstance(parameters, Mapping):
            raise ScopeError("a bulk update by primary key goes past the tenant's scope: update loaded objects")
        again = bool(parameters)  # with its values apart from it
        state.statement = _only_own_rows_of(state.statement) if again else state.statement.options(_OWN_ROWS)
    elif owned and state.is_insert:
        tenant = current_tenant()
        rows: Any = [parameters or {}] if parameters is None or isinstance(parameters, Mapping) else parameters
        if any(row.get("tenant_id") != tenant for row in rows):
            raise ScopeError("an ORM insert in a tenant's scope needs that tenant_id in the parameters of each row")


@event.listens_for(TenantOwned, "before_insert", propagate=True)
@event.listens_for(TenantOwned, "before_update", propagate=True)
@event.listens_for(TenantOwned, "before_delete", propagate=True)
def _write_only_own_rows(mapper: Mapper[Any], connection: Any, row: TenantOwned) -> None:
    """Only now, after relationships were followed, is the row's tenant certain."""
    if isinstance(object_session(row), TenantSession):
        _refuse_foreign(row)


def _refuse_foreign(row: Any) -> None:
    if _is_foreign(row):
        raise ScopeError(f"a row of {type(row).__name__} belongs to another tenant than the scope's")


def _is_foreign(row: Any) -> bool:
    """Whether a row is, or was before a change, another tenant's. Raises ScopeError without a scope."""
    if not isinstance(row, TenantOwned) or current_scope() is System.ALL_TENANTS:
        return False
    tenant = current_tenant()
    history = attributes.get_history(row, "tenant_id")
    tenants: set[UUID] = {value for part in history for value in part or ()}
    return tenants != {tenant}
