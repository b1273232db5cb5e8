"""What each kind of secret is called, and who must make a new one once others may know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

PROVIDERS: Final[Mapping[str, str]] = {"paypal": "PayPal"}  # the others are called what the tenant called them

IN_AUDIAPRO: Final = "AudiaPro: "
BY_TENANT: Final = "the tenant: "


class Kind(NamedTuple):
    """The secrets of one encrypted column of the tenants' own tables.

    what: one of them, before its name. noun: of the audit trail. attribute: of the model, as events name it. named_by:
    the columns that people tell the row by. reissue: who makes a new one and where; None for the row's provider.
    """

    what: str
    noun: str
    attribute: str
    named_by: tuple[str, ...] = ("name",)
    reissue: str | None = None

    def called(self, values: Mapping[str, Any]) -> str:
        """One of them; values: of the row, or what an event says of it."""
        return " ".join([self.what, *(str(values[name]) for name in self.named_by if values.get(name))])

    def reissued_by(self, values: Mapping[str, Any]) -> str:
        """Who must make a new one; values: as above. Events do not have the provider of every kind."""
        if self.reissue is not None:
            return self.reissue
        provider = values.get("provider")
        return PROVIDERS.get(provider, provider) if provider else "its provider, which the tenant knows"


KINDS: Final[Mapping[str, Kind]] = {
    "phone_systems.password": Kind(
        "API password of the phone system",
        "phone_system",
        "password",
        reissue=f"{BY_TENANT}a new one at the PBX, then here",
    ),
    "phone_systems.webhook_password": Kind(
        "webhook password of the phone system",
        "phone_system",
        "webhook_password",
        reissue=f"{BY_TENANT}a new one here, then at the PBX",
    ),
    "phone_systems.previous_webhook_password": Kind(
        "previous webhook password of the phone system",
        "phone_system",
        "previous_webhook_password",
        reissue=f"{BY_TENANT}stops accepting it here",
    ),
    "payment_accounts.client_secret": Kind(
        "client secret of the payment account", "payment_account", "client_secret", ("provider", "mode")
    ),
    "api_credentials.secret": Kind("API credential", "api_credential", "secret"),
    "api_keys.token_hash": Kind(
        "API key", "api_key", "token_hash", reissue=f"{IN_AUDIAPRO}the tenant makes a new one and deletes this one"
    ),
    # No secret to be made anew, but people's data. Of those that are gone nothing is told: others took their place.
    "unreadable_deliveries.content": Kind(
        "body of a delivery that was not understood",
        "unreadable_delivery",
        "content",
        (),
        reissue=f"{BY_TENANT}looks whose data it holds",
    ),
}

# Of users, who may belong to several tenants: by the encrypted column.
OF_USERS: Final[Mapping[str, tuple[str, str]]] = {
    "users.totp_secret": ("second factor of", f"{IN_AUDIAPRO}the user removes it and enrols anew"),
    "users.recovery_code_hashes": ("recovery codes of", f"{IN_AUDIAPRO}the user makes new ones"),
}
SESSIONS: Final = ("sessions of", f"{IN_AUDIAPRO}`flask revoke-tokens`, and the user signs in again")
