"""How the installation is: for load balancers, monitors, and whoever is called at night."""

from __future__ import annotations

from flask import Flask

from app.audit.actions import OF_TENANTS
from app.audit.service import REFUSED, SUCCESS
from app.encryption import AppEncryption, inventory
from app.encryption.sealed import OPENING
from app.extensions import db
from app.metrics import counted, pool
from app.phone_systems.vendors import VENDORS
from app.status.values import ValueCounter


def init_app(app: Flask) -> None:
    """Begin to count. After the database and the keys, before whatever counts."""
    columns = [column.name for column in inventory(db.metadata)]
    actions = [action for group in OF_TENANTS.values() for action in group]
    figures = counted.init_app(
        app, vendors=VENDORS, columns=columns, opening=OPENING, actions=actions, outcomes=(SUCCESS, REFUSED)
    )
    encryption: AppEncryption = app.extensions["encryption"]
    encryption.on_open = lambda column, outcome: figures.decryptions.labels(column, outcome).inc()
    app.extensions["value_counter"] = ValueCounter()
    with app.app_context():
        pool.init_app(app, db.engine)
