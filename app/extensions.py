"""The extensions, not bound to any app yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from app.database import Base
from app.encryption import Encryption
from app.tenancy import TenantSession

# What was committed stays readable: answers are made of it, without asking the database a second time.
db = SQLAlchemy(model_class=Base, session_options={"class_": TenantSession, "expire_on_commit": False})
if TYPE_CHECKING:  # db.Model is made at run time, where mypy cannot see that it is a subclass of Base

    class Model(Base):
        __abstract__ = True
else:
    Model = db.Model
migrate = Migrate()
encryption = Encryption(db.metadata)
