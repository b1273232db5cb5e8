"""AudiaPro: the application factory."""

from __future__ import annotations

from apiflask import APIFlask

from app import errors
from app.cli.encryption import commands as encryption_commands
from app.cli.rotation import commands as rotation_commands
from app.config import Settings, load_settings
from app.database import engine_options
from app.extensions import db, encryption, jwt, limiter, migrate
from app.strict_json import StrictJSONProvider

MAXIMUM_BODY_BYTES = 1024 * 1024


def create_app(settings: Settings | None = None) -> APIFlask:
    """An application from ``settings``, or from the environment. Raises ConfigurationError when that is not fit.

    The start-up check of the encryption keys is not made here, but by whoever serves (``wsgi.py``): the commands that
    put things right must work while it fails.
    """
    settings = settings or load_settings()
    app = APIFlask("app", title="AudiaPro", version="0.1.0", spec_path="/openapi.json", docs_path=None)
    app.json_provider_class = StrictJSONProvider
    app.json = StrictJSONProvider(app)
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
        ROTATION_DATABASE_URL=settings.rotation_database_url,
        MAX_CONTENT_LENGTH=MAXIMUM_BODY_BYTES,
    )
    db.init_app(app)
    migrate.init_app(app, db)
    encryption.init_app(app, settings.keyring)
    jwt.init_app(app)
    limiter.init_app(app)
    errors.init_app(app)
    app.register_blueprint(rotation_commands)
    app.register_blueprint(encryption_commands)
    return app
