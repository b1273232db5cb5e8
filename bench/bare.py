"""The yardstick: bare Flask + Flask-SQLAlchemy routes that insert or list the same rows, and no more."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, DateTime
from sqlalchemy.orm import Mapped, mapped_column

from app.metrics.counted import Counted

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
db: Any = SQLAlchemy(app)
app.extensions["metrics"] = Counted()  # gunicorn.conf.py looks for it; nothing is counted here
TENANT = uuid.UUID(os.environ.get("BENCH_TENANT", "00000000-0000-0000-0000-000000000000"))


class Call(db.Model):  # type: ignore[misc]
    __tablename__ = "calls"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    tenant_id: Mapped[uuid.UUID]
    phone_system_id: Mapped[uuid.UUID]
    record_key: Mapped[str]
    linked_id: Mapped[str]
    source: Mapped[str]
    destination: Mapped[str]
    caller_name: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    answered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    duration_seconds: Mapped[int]
    talk_seconds: Mapped[int]
    disposition: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    demonstration: Mapped[bool]
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class PhoneSystem(db.Model):
    __tablename__ = "phone_systems"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    name: Mapped[str]
    vendor: Mapped[str]
    base_url: Mapped[str | None]
    username: Mapped[str | None]
    password_encrypted: Mapped[str | None]
    password_changed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    webhook_username: Mapped[str | None]
    webhook_password_encrypted: Mapped[str | None]
    webhook_password_changed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    time_zone: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    version: Mapped[int]


@app.get("/api/phone-systems")
def list_phone_systems() -> dict[str, Any]:
    newest = db.select(PhoneSystem).order_by(PhoneSystem.id.desc()).limit(request.args.get("limit", type=int))
    return {
        "items": [
            {
                "id": str(row.id),
                "created_at": row.created_at.isoformat(),
                "updated_at": row.updated_at.isoformat(),
                "version": row.version,
                "name": row.name,
                "vendor": row.vendor,
                "base_url": row.base_url,
                "username": row.username,
                "password_set": row.password_encrypted is not None,
                "password_changed_at": row.password_changed_at and row.password_changed_at.isoformat(),
                "webhook_path": f"/hooks/bench/{row.id}/cdr",
                "webhook_username": row.webhook_username,
                "webhook_password_set": row.webhook_password_encrypted is not None,
                "webhook_password_changed_at": row.webhook_password_changed_at
                and row.webhook_password_changed_at.isoformat(),
                "time_zone": row.time_zone,
            }
            for row in db.session.scalars(newest)
        ],
        "next": None,
    }


@app.post("/hooks/<subdomain>/<uuid:phone_system_id>/cdr")
def deliver(subdomain: str, phone_system_id: uuid.UUID) -> tuple[dict[str, str], int]:
    form = request.form
    call = Call(
        tenant_id=TENANT,
        phone_system_id=phone_system_id,
        record_key=form["uniqueid"],
        linked_id=form["linkedid"],
        source=form["src"],
        destination=form["dst"],
        caller_name=form["clid"],
        started_at=datetime.fromisoformat(form["start"]),
        answered_at=datetime.fromisoformat(form["answer"]),
        ended_at=datetime.fromisoformat(form["end"]),
        duration_seconds=int(form["duration"]),
        talk_seconds=int(form["billsec"]),
        disposition=form["disposition"].lower(),
        details=dict(form),
        demonstration=False,
        received_at=datetime.now(UTC),
    )
    db.session.add(call)
    db.session.commit()
    return {"id": str(call.id)}, 201
