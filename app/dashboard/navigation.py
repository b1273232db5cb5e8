"""The way from page to page."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from flask import Flask, current_app, g, request, url_for

from app.identity.access import current_caller
from app.identity.models import Role

EVERYBODY: Final = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER})
KEEPERS: Final = frozenset({Role.OWNER, Role.ADMIN})
OWNERS: Final = frozenset({Role.OWNER})


class Entry(NamedTuple):
    """A line of the menu. blueprint: of the pages that belong to it."""

    title: str
    icon: str
    endpoint: str
    roles: frozenset[Role]

    @property
    def blueprint(self) -> str:
        return self.endpoint.partition(".")[0]

    @property
    def address(self) -> str:
        return url_for(self.endpoint)

    @property
    def is_current(self) -> bool:
        return request.blueprint == self.blueprint


# By groups; the first has no title.
MENU: Final[tuple[tuple[str, tuple[Entry, ...]], ...]] = (
    (
        "",
        (
            Entry("Overview", "speedometer2", "overview.show", EVERYBODY),
            Entry("Calls", "telephone", "calls_pages.show_list", EVERYBODY),
        ),
    ),
    (
        "Connections",
        (
            Entry("Phone systems", "hdd-network", "phone_systems_pages.show_list", KEEPERS),
            Entry("Payment accounts", "credit-card", "payment_accounts_pages.show_list", KEEPERS),
            Entry("API credentials", "key", "api_credentials_pages.show_list", KEEPERS),
        ),
    ),
    (
        "Organisation",
        (
            Entry("Organisation", "building", "organisation_pages.show", KEEPERS),
            Entry("Team", "people", "team_pages.show_list", KEEPERS),
            Entry("API keys", "braces", "api_keys_pages.show_list", KEEPERS),
            Entry("Audit trail", "journal-text", "audit_pages.show_list", KEEPERS),
            Entry("Encryption", "shield-lock", "encryption_pages.show", OWNERS),
        ),
    ),
    ("You", (Entry("Your account", "person-gear", "account_pages.show", EVERYBODY),)),
)


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(menu=menu, address_of=address_of)


def menu() -> list[tuple[str, list[Entry]]]:
    """What whoever is signed in may see; nothing for strangers."""
    if "caller" not in g:
        return []
    role = Role(current_caller().role)
    groups = [
        (title, [entry for entry in entries if role in entry.roles and entry.endpoint in current_app.view_functions])
        for title, entries in MENU
    ]
    return [(title, entries) for title, entries in groups if entries]


def address_of(blueprint: str, id: UUID | None = None) -> str:
    """Where the pages of that blueprint show one thing, or, without its id, where their entry of the menu leads: to the
    overview, for those that have none."""
    if id is not None:
        return url_for(f"{blueprint}.show", id=id)
    found = (entry.address for _, entries in MENU for entry in entries if entry.blueprint == blueprint)
    return next(found, url_for("overview.show"))
