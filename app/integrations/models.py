"""What the models of all integrations have in common."""

from __future__ import annotations

from app.database import Timestamps, Versioned
from app.tenancy import TenantOwned


class Integration(TenantOwned, Timestamps, Versioned):
    """A tenant's own row that its owners and admins change.

    Beside each secret that they set, a model has ``<secret>_changed_by``: who last set or removed it, by the e-mail
    address or the name that they had then, or "the operator". None where that is not known, as in rows of older
    releases.
    """
