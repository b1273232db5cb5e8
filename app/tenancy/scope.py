"""For whom the running code works: one tenant, the system, or, where nobody has said so, nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final
from uuid import UUID

from flask import Flask, g
from sqlalchemy.exc import DontWrapMixin


class ScopeError(DontWrapMixin, RuntimeError):
    """A mistake of ours: a statement on tenants' rows without a scope, or across the scope's border."""


class System(Enum):
    """The scope of work that is not for one tenant."""

    ALL_TENANTS = "all tenants"


Scope = UUID | System | None

_scope: ContextVar[Scope] = ContextVar("scope", default=None)


def current_scope() -> Scope:
    return _scope.get()


def current_tenant() -> UUID:
    """The id of the scope's tenant. Raises :class:`ScopeError` where there is none."""
    scope = _scope.get()
    if not isinstance(scope, UUID):
        raise ScopeError("tenants' rows were asked for in no tenant's scope: enter tenant_scope() or system_scope()")
    return scope


@contextmanager
def tenant_scope(tenant_id: UUID) -> Iterator[None]:
    """What is inside reads and writes rows of this tenant only."""
    with _scope_of(tenant_id):
        yield


@contextmanager
def system_scope() -> Iterator[None]:
    """What is inside reads and writes rows of all tenants. For the few things that cannot know the tenant yet, or are
    not about one: tests/test_conventions.py lists every place."""
    with _scope_of(System.ALL_TENANTS):
        yield


@contextmanager
def _scope_of(scope: Scope) -> Iterator[None]:
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def enter_tenant_scope(tenant_id: UUID) -> None:
    """Enter a tenant's scope for the rest of the request: to be called once its sender was authenticated."""
    g.setdefault(_ENTERED, []).append(_scope.set(tenant_id))


def leave_at_end_of_request(app: Flask) -> None:
    """Leave what a request entered when it ends, however it does: the thread goes on to serve another tenant."""

    @app.teardown_request
    def leave(error: BaseException | None) -> None:
        for token in reversed(g.pop(_ENTERED, [])):
            _scope.reset(token)


_ENTERED: Final = "entered_scopes"
