"""The yardstick of deliveries: a bare Flask + Flask-SQLAlchemy route that inserts the same row, and no more."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, DateTime
from sqlalchemy.orm import Mapped, mapped_column

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
db: Any = SQLAlchemy(app)
TENANT = uuid.UUID(os.environ["BENCH_TENANT"])


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
