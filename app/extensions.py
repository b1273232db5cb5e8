"""The extensions, not bound to any app yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_jwt_extended import JWTManager
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from app.database import Base
from app.encryption import Encryption

db = SQLAlchemy(model_class=Base)
if TYPE_CHECKING:  # db.Model is made at run time, where mypy cannot see that it is a subclass of Base

    class Model(Base):
        __abstract__ = True
else:
    Model = db.Model
migrate = Migrate()
jwt = JWTManager()
limiter = Limiter(key_func=get_remote_address)
encryption = Encryption(db.metadata)
