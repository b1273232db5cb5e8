"""The extensions, not bound to any app yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask_jwt_extended import JWTManager
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.database import Base
from app.encryption import Encryption
from app.tenancy import TenantSession

REDIS_TIMEOUT_SECONDS: Final = 2

# What was committed stays readable: answers are made of it, without asking the database a second time.
db = SQLAlchemy(model_class=Base, session_options={"class_": TenantSession, "expire_on_commit": False})
if TYPE_CHECKING:  # db.Model is made at run time, where mypy cannot see that it is a subclass of Base

    class Model(Base):
        __abstract__ = True
else:
    Model = db.Model
migrate = Migrate()
jwt = JWTManager()
limiter = Limiter(key_func=get_remote_address)  # holds the storage: what is counted there, app/limits says
encryption = Encryption(db.metadata)


def limiter_options(redis_url: str | None) -> dict[str, Any]:
    """Where requests are counted. A Redis that does not answer is reported in bounded time, not retried."""
    if redis_url is None:
        return {"RATELIMIT_STORAGE_URI": "memory://"}
    return {
        "RATELIMIT_STORAGE_URI": redis_url.replace("unix://", "redis+unix://", 1),
        "RATELIMIT_STORAGE_OPTIONS": {
            "socket_timeout": REDIS_TIMEOUT_SECONDS,
            "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "wrap_exceptions": True,
        },
    }
