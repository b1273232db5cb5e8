"""What is known when somebody asks for the metrics, beside what was counted: configuration, readiness, and what the
database has of keys, rotations and mails. It is asked each time, for rows that are few or that an index finds.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from typing import Final, cast

from apiflask import APIFlask
from flask import current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.exc import SQLAlchemyError

from app.audit.models import AuditEvent, AuditSeal
from app.config import Settings
from app.encryption import AppEncryption
from app.encryption.connections import is_running
from app.extensions import db
from app.identity import signing_keys
from app.limits.reachable import why_not
from app.mail import service as mail
from app.metrics import shared
from app.metrics.counted import counted
from app.status.service import READY, UNKNOWN, check_readiness
from app.status.values import ValueCounter
from app.tenancy import system_scope

log = logging.getLogger(__name__)

# Twice this, for the connection and for the answer, is how long a Redis that hangs holds up the answer.
REDIS_PATIENCE_SECONDS: Final = 0.5

ROTATION: Final = {
    "running": "Whether a rotation of the encryption key is running.",
    "done_ratio": "How much of what the newest rotation had to seal anew is, from 0 to 1.",
    "handled_values": "Values that the newest rotation has sealed anew or opened in its proof.",
    "unreadable_values": "Values that did not open in the newest rotation.",
    "proved": "Whether the newest rotation has ended with every value opened by the primary key alone.",
    "started_timestamp_seconds": "When the newest rotation began.",
}


def exposition() -> bytes:
    """All metrics, in Prometheus' text format. What the database tells is missing while it does not answer."""
    registry = CollectorRegistry()
    for collector in (*shared.of_all_workers(counted().registry), Configuration(), Readiness(), Counting(), Values()):
        registry.register(collector)
    return generate_latest(registry)


class Configuration(Collector):
    """Which version this is, and which keys it has."""

    def collect(self) -> Iterator[Metric]:
        build = {"version": cast(APIFlask, current_app).version or "", "python": platform.python_version()}
        yield InfoMetricFamily("audiapro_build", "The version that answers.", build)
        keys = GaugeMetricFamily(
            "audiapro_encryption_key_info", "Master keys that are configured.", labels=["key_id", "place"]
        )
        keyring = _encryption().keyring
        keys.add_metric([keyring.primary.id, "primary"], 1)
        for key in keyring.fallbacks:
            keys.add_metric([key.id, "fallback"], 1)
        yield keys
        limit = "How long a key is to be used at most."
        yield GaugeMetricFamily("audiapro_key_max_age_seconds", limit, _settings().key_max_age.total_seconds())


class Readiness(Collector):
    """Whether this process can serve; and, if the database answers, what it has."""

    def collect(self) -> Iterator[Metric]:
        checks = check_readiness(db.engine)
        ready = GaugeMetricFamily("audiapro_ready", "Whether a check of /readyz is well.", labels=["check"])
        for name, outcome in checks.items():
            if outcome != UNKNOWN:  # which is no 0: nobody is to look for what nobody knows to be wrong
                ready.add_metric([name], outcome == READY)
        yield ready
        found: list[Metric] = []
        is_up = checks["database"] == READY
        if is_up:
            try:
                with system_scope(), db.engine.connect() as connection:
                    found = [
                        *_keys(connection), *_rotation(connection), *_mails(connection), *_audit(connection)
                    ]  # fmt: skip
            except SQLAlchemyError as error:  # cut off in this very moment, or not migrated
                log.warning("the database did not tell all that /metrics shows: %s", type(error).__name__)
        yield GaugeMetricFamily("audiapro_database_up", "Whether the database answers.", is_up)
        yield from found


class Counting(Collector):
    """Whether Redis answers, without which nothing that is counted is done. Nothing where none is configured."""

    def collect(self) -> Iterator[Metric]:
        if (url := _settings().redis_url) is not None:
            is_up = why_not(url, REDIS_PATIENCE_SECONDS) is None
            yield GaugeMetricFamily("audiapro_redis_up", "Whether Redis answers.", is_up)


class Values(Collector):
    """How many values each key has, as of the last time that they were counted."""

    def collect(self) -> Iterator[Metric]:
        counter: ValueCounter = current_app.extensions["value_counter"]
        counter.count_if_due()
        if (latest := counter.latest()) is None:
            return
        values = GaugeMetricFamily(
            "audiapro_encrypted_values", "Stored secrets under each key.", labels=["column", "key_id"]
        )
        for column, key_id, count in latest.values:
            values.add_metric([column, key_id], count)
        yield values
        name, meaning = "audiapro_encrypted_values_counted_timestamp_seconds", "When these were counted."
        yield GaugeMetricFamily(name, meaning, latest.counted_at)


def _keys(connection: Connection) -> Iterator[Metric]:
    registered = GaugeMetricFamily(
        "audiapro_encryption_key_registered_timestamp_seconds",
        "When a master key was first used with this database.",
        labels=["key_id"],
    )
    keys = _encryption().registry.keys
    for key_id, created_at in connection.execute(select(keys.c.id, keys.c.created_at)):
        registered.add_metric([key_id], created_at.timestamp())
    yield registered
    current = current_app.extensions["signing_keys"].current_id
    if (used_at := signing_keys.first_used(connection, current)) is not None:
        name = "audiapro_jwt_secret_first_used_timestamp_seconds"
        signing = GaugeMetricFamily(name, "When the JWT secret that signs was first used.", labels=["key_id"])
        signing.add_metric([current], used_at.timestamp())
        yield signing


def _rotation(connection: Connection) -> Iterator[Metric]:
    """Nothing before the first rotation."""
    running = is_running(connection)  # asked first: one that ends meanwhile is then seen to be over, not broken off
    registry = _encryption().registry
    newest = registry.last_rotation(connection)
    if newest is None:
        return
    proved = newest["finished_at"] is not None and newest["remaining"] == newest["unreadable"] == 0
    figures = {
        "running": running and newest["finished_at"] is None,
        "done_ratio": 1 if proved else _ratio(newest),
        "handled_values": newest["rotated"] + (newest["proved"] or 0),
        "unreadable_values": newest["unreadable"],
        "proved": proved,
        "started_timestamp_seconds": newest["started_at"].timestamp(),
    }
    for name, value in figures.items():
        yield GaugeMetricFamily(f"audiapro_rotation_{name}", ROTATION[name], value)
    if (proved_at := registry.last_proved_at(connection)) is not None:
        meaning = "When a rotation was last proved."
        yield GaugeMetricFamily("audiapro_rotation_proved_timestamp_seconds", meaning, proved_at.timestamp())


def _ratio(rotation: RowMapping) -> float:
    """Others write and delete meanwhile: at the end it may have been more than was planned."""
    return min(1.0, rotation["rotated"] / rotation["planned"]) if rotation["planned"] else 1.0


def _mails(connection: Connection) -> Iterator[Metric]:
    unsent = mail.unsent(connection)
    mails = GaugeMetricFamily("audiapro_mails", "Mails that wait, or came to nothing lately.", labels=["state"])
    for state, count in unsent.counts.items():
        mails.add_metric([state], count)
    yield mails
    if unsent.oldest_queued_at is not None:
        meaning = "Since when the oldest mail waits."
        oldest = unsent.oldest_queued_at.timestamp()
        yield GaugeMetricFamily("audiapro_mail_oldest_queued_timestamp_seconds", meaning, oldest)


def _audit(connection: Connection) -> Iterator[Metric]:
    """Times of the newest of each: by a number and an id that are indexed, for the trail is long."""
    newest = {
        "sealed": select(AuditSeal.sealed_at).order_by(AuditSeal.number.desc()),
        "newest_event": select(AuditEvent.occurred_at).order_by(AuditEvent.id.desc()),
    }
    meanings = {"sealed": "When the audit trail was last sealed.", "newest_event": "When its newest event happened."}
    for name, statement in newest.items():
        if (moment := connection.execute(statement.limit(1)).scalar()) is not None:
            yield GaugeMetricFamily(f"audiapro_audit_{name}_timestamp_seconds", meanings[name], moment.timestamp())


def _settings() -> Settings:
    return cast(Settings, current_app.extensions["settings"])


def _encryption() -> AppEncryption:
    return cast(AppEncryption, current_app.extensions["encryption"])
