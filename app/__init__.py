"""AudiaPro: the application factory."""

from __future__ import annotations

from typing import cast

from apiflask import APIFlask

from app import audit, cors, dashboard, errors, extensions, openapi, proxies, status, tenancy, web
from app.api_keys.api import api as api_keys_api
from app.audit.api import api as audit_api
from app.calls.api import api as calls_api
from app.calls.hooks import api as hooks_api
from app.calls.statistics_api import api as call_statistics_api
from app.cli.accounts import commands as account_commands
from app.cli.audit import commands as audit_commands
from app.cli.backup import commands as backup_commands
from app.cli.calls import commands as call_commands
from app.cli.develop import commands as development_commands
from app.cli.doctor import commands as doctor_commands
from app.cli.encryption import commands as encryption_commands
from app.cli.incident import commands as incident_commands
from app.cli.mail import commands as mail_commands
from app.cli.rotation import commands as rotation_commands
from app.config import PROJECT, Settings, load_settings
from app.credentials.api import api as credentials_api
from app.database import engine_options
from app.documentation.api import api as documentation_api
from app.identity import access, sessions, tokens
from app.identity.account_api import own_account, password_reset, verify_email
from app.identity.api import login, logout, me, reauthenticate, refresh, sessions_api
from app.identity.second_factor_api import api as second_factor_api
from app.limits import budget, counting
from app.mail import delivery
from app.metrics import requests as counted_requests
from app.outbound.client import Outbound
from app.payments.api import api as payments_api
from app.phone_systems.api import api as phone_systems_api
from app.status.api import api as status_api
from app.status.metrics_api import api as metrics_api
from app.strict_json import StrictJSONProvider, StrictJSONRequest
from app.tenants.api import api as members_api
from app.tenants.invitations_api import acceptance
from app.tenants.invitations_api import api as invitations_api
from app.tenants.secrets_api import api as encryption_api
from app.tenants.sign_up_api import api as sign_up_api
from app.tenants.tenant_api import api as tenant_api

MAXIMUM_BODY_BYTES = 1024 * 1024

# Every blueprint, and who may use it.
BLUEPRINTS = (
    (login, access.public),
    (refresh, access.with_refresh_token),
    (reauthenticate, access.signed_in),
    (logout, access.signed_in),
    (sessions_api, access.signed_in),
    (me, access.signed_in),
    (second_factor_api, access.signed_in),
    (api_keys_api, access.signed_in_owner_or_admin),
    (own_account, access.signed_in),
    (password_reset, access.public),
    (verify_email, access.public),
    (sign_up_api, access.public),
    (tenant_api, access.any_role),
    (members_api, access.signed_in),
    (invitations_api, access.signed_in_owner_or_admin),
    (acceptance, access.public),
    (phone_systems_api, access.owner_or_admin),
    (payments_api, access.owner_or_admin),
    (credentials_api, access.owner_or_admin),
    (calls_api, access.any_role),
    (call_statistics_api, access.any_role),
    (audit_api, access.owner_or_admin),
    (encryption_api, access.signed_in_owner),
    (hooks_api, access.phone_system),
    (status_api, access.public),
    (documentation_api, access.public),
    *dashboard.BLUEPRINTS,
)
# And where METRICS_TOKEN is set; without it there is nothing at /metrics.
MONITORED = (metrics_api, access.monitor)

COMMANDS = (
    account_commands,
    audit_commands,
    backup_commands,
    call_commands,
    development_commands,
    doctor_commands,
    encryption_commands,
    incident_commands,
    mail_commands,
    rotation_commands,
)


def create_app(settings: Settings | None = None) -> APIFlask:
    """An application from ``settings``, or from the environment. Raises ConfigurationError when that is not fit.

    The start-up check of the encryption keys is not made here, but by whoever serves (``wsgi.py``): the commands that
    put things right must work while it fails. Until it is made, no request is served.
    """
    settings = settings or load_settings()
    app = APIFlask(
        "app",
        title="AudiaPro",
        version="0.1.0",
        docs_path=None,
        static_folder=cast(str, None),
        static_url_path="/static",
    )
    app.json_provider_class = StrictJSONProvider
    app.json = StrictJSONProvider(app)
    app.request_class = StrictJSONRequest
    jwt_secrets = [settings.jwt_secret_key, *settings.jwt_secret_key_fallbacks]
    app.config.from_mapping(
        SECRET_KEY=tokens.derive_key(settings.jwt_secret_key, "audiapro/flask-session"),
        SECRET_KEY_FALLBACKS=[
            tokens.derive_key(secret, "audiapro/flask-session") for secret in settings.jwt_secret_key_fallbacks
        ],
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(
            settings.database_url, pooled=settings.rotation_database_url is not None
        ),
        ROTATION_DATABASE_URL=settings.rotation_database_url,
        METRICS_TOKEN=settings.metrics_token,
        SIGN_UP_OPEN=settings.sign_up_open,
        MAX_CONTENT_LENGTH=MAXIMUM_BODY_BYTES,
    )
    app.extensions["settings"] = settings
    counted_requests.init_app(app)
    errors.init_app(app)
    extensions.db.init_app(app)
    tenancy.init_app(app, extensions.db)
    extensions.migrate.init_app(app, extensions.db, directory=str(PROJECT / "migrations"))
    extensions.encryption.init_app(app, settings.keyring)
    status.init_app(app)
    tokens.init_app(app, jwt_secrets, settings.access_token_expires)
    sessions.init_app(app, absolute=settings.refresh_token_expires, idle=settings.session_idle_expires)
    cors.init_app(app, settings.cors_origins)
    counting.init_app(app, settings.rates, settings.redis_url)
    budget.init_app(app, settings.tenant_budget)
    delivery.init_app(app, settings)
    app.extensions["outbound"] = Outbound(settings.outbound_networks)
    audit.init_app(app, settings.audit_retention)
    proxies.believe_proxies(app, settings.trusted_proxy_hops, settings.client_address_header)
    web.init_app(app, https_only=settings.environment == "production")
    openapi.init_app(app)
    for blueprint, who in (*BLUEPRINTS, *([MONITORED] if settings.metrics_token else [])):
        access.register(app, blueprint, who)
    dashboard.init_app(app, https_only=settings.environment == "production")
    for commands in COMMANDS:
        app.register_blueprint(commands)
    return app
