"""Tenants are kept apart: whose rows a statement may touch is said once, and enforced at three levels.

* :mod:`owned`: what makes a row a tenant's own; composite foreign keys keep references within the tenant
* :mod:`scope`: ``tenant_scope()`` and ``system_scope()`` say for whom the code inside works
* :mod:`session`: the ORM adds the tenant to every statement; without a scope such a statement is an error
* :mod:`floor`: PostgreSQL hides other tenants' rows also from what the ORM does not see: row-level security

See "Tenants are kept apart" in docs/security.md.
"""

from __future__ import annotations

from app.tenancy.floor import FLOOR_MISSING, init_app, keeps_tenants_apart
from app.tenancy.owned import TenantOwned, belongs_to, tenant_key
from app.tenancy.scope import ScopeError, current_scope, current_tenant, enter_tenant_scope, system_scope, tenant_scope
from app.tenancy.session import TenantSession

__all__ = [
    "FLOOR_MISSING",
    "ScopeError",
    "TenantOwned",
    "TenantSession",
    "belongs_to",
    "current_scope",
    "current_tenant",
    "enter_tenant_scope",
    "init_app",
    "keeps_tenants_apart",
    "system_scope",
    "tenant_key",
    "tenant_scope",
]
