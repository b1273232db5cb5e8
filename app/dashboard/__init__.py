"""The web dashboard: pages over the same services as the API, for people who look after a phone system.

* :mod:`access`: who may use a page; :mod:`cookie`: how a browser is known
* :mod:`signing_in`, :mod:`proof`: asking who somebody is, also as a step between a form and what it does: :mod:`steps`
* :mod:`forms`, :mod:`changing`, :mod:`pages`, :mod:`notes`: what all forms and pages have in common
* :mod:`connections`, :mod:`connection_kinds`, :mod:`edit`: what all connections have in common
* :mod:`rendering`, :mod:`navigation`, :mod:`assets`: what templates show things with, the menu, stylesheets and scripts
* :mod:`views`: the pages, a module for each noun
"""

from __future__ import annotations

from typing import Final

from apiflask import APIBlueprint, APIFlask

from app.dashboard import access, assets, cookie, errors, navigation, rendering
from app.dashboard.extensions import csrf
from app.dashboard.views import (
    account,
    api_credentials,
    api_keys,
    audit,
    call_retention,
    calls,
    encryption,
    links,
    organisation,
    overview,
    payment_accounts,
    phone_systems,
    sign_in,
    sign_up,
    team,
    tenants,
)
from app.dashboard.views import second_factor as second_factor  # a part of the account's
from app.identity import access as identity_access

files = APIBlueprint("dashboard", __name__, static_folder="static", template_folder="templates", enable_openapi=False)

# Every blueprint of pages, and who may use it.
BLUEPRINTS: Final = (
    (files, identity_access.public),
    (sign_in.pages, access.public_page),
    (sign_in.out, access.way_out),
    (sign_up.pages, access.public_page),
    (links.pages, access.public_page),
    (overview.pages, access.page),
    (calls.pages, access.page),
    (account.pages, access.page),
    (tenants.pages, access.page),
    (organisation.pages, access.page_for_owners_and_admins),
    (call_retention.pages, access.page_for_owners),
    (team.pages, access.page_for_owners_and_admins),
    (api_keys.pages, access.page_for_owners_and_admins),
    (audit.pages, access.page_for_owners_and_admins),
    (encryption.pages, access.page_for_owners),
    (phone_systems.pages, access.page_for_owners_and_admins),
    (payment_accounts.pages, access.page_for_owners_and_admins),
    (api_credentials.pages, access.page_for_owners_and_admins),
)


def init_app(app: APIFlask, *, https_only: bool) -> None:
    """https_only: see :func:`app.dashboard.cookie.init_app`."""
    app.extensions["pages"] = {blueprint.name for blueprint, who in BLUEPRINTS if who is not identity_access.public}
    cookie.init_app(app, https_only=https_only)
    csrf.init_app(app)
    assets.init_app(app)
    rendering.init_app(app)
    navigation.init_app(app)
    errors.init_app(app)
