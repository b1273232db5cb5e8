"""What the models of all integrations have in common."""

from __future__ import annotations

from app.database import Timestamps, Versioned
from app.tenancy import TenantOwned


class Integration(TenantOwned, Timestamps, Versioned):
    """A tenant's own row that its owners and admins change."""
