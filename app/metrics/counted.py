"""The counters. Each belongs to one application; workers that were forked from it count together (:mod:`shared`)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# What became of somebody who wanted to sign in, or to prove once more who they are.
SIGN_INS: Final = (
    "signed_in", "proved_again", "wrong_password", "no_code", "wrong_code", "tenant_needed", "locked_out"
)  # fmt: skip
DELIVERIES: Final = ("accepted", "duplicate", "unreadable", "refused")
NO_VENDOR: Final = "unknown"  # of a delivery whose sender was refused
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counted:
    """What one application counts. ``registry`` is of this process alone."""

    def __init__(self) -> None:
        disable_created_metrics()  # as it is anyway where several processes count together
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "audiapro_http_requests_total",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "audiapro_http_request_duration_seconds",
            "Time until the answer to a request begins.",
            ["route", "method"],
            registry=registry,
            buckets=SECONDS,
        )
        self.sign_ins = Counter(
            "audiapro_sign_ins_total",
            "Attempts to sign in, or to prove once more who one is.",
            ["outcome"],
            registry=registry,
        )
        self.deliveries = Counter(
            "audiapro_deliveries_total",
            "Deliveries of call records by phone systems.",
            ["vendor", "outcome"],
            registry=registry,
        )
        self.decryptions = Counter(
            "audiapro_decryptions_total",
            "Stored secrets that were to be opened while serving.",
            ["column", "outcome"],
            registry=registry,
        )
        self.limits_exceeded = Counter(
            "audiapro_limits_exceeded_total", "Times that a limit was met.", ["limit"], registry=registry
        )
        self.audit_events = Counter(
            "audiapro_audit_events_total",
            "Events stored in the audit trail while serving.",
            ["action", "outcome"],
            registry=registry,
        )
        self.pool_limit, self.pool_in_use = (
            Gauge(f"audiapro_database_pool_{name}", meaning, registry=registry, multiprocess_mode="livesum")
            for name, meaning in (
                ("limit", "Connections to the database that the workers may have at most."),
                ("in_use", "Connections to the database that the workers use now."),
            )
        )
        self.pool_fullest = Gauge(
            "audiapro_database_pool_fullest_ratio",
            "How much of its connections the worker uses that has the fewest left.",
            registry=registry,
            multiprocess_mode="livemax",
        )


def init_app(
    app: Flask,
    *,
    vendors: Iterable[str],
    columns: Iterable[str],
    opening: Iterable[str],
    actions: Iterable[str],
    outcomes: Iterable[str],
) -> Counted:
    """vendors: kinds of phone systems. columns: names of encrypted columns. opening: what can come of opening a value.
    actions, outcomes: of the audit trail.

    What is known beforehand begins with 0: of a counter that comes to be with its first event, Prometheus misses that.
    """
    counted = app.extensions["metrics"] = Counted()
    for outcome in SIGN_INS:
        counted.sign_ins.labels(outcome)
    for labels in product((*vendors, NO_VENDOR), DELIVERIES):
        counted.deliveries.labels(*labels)
    for labels in product(columns, opening):
        counted.decryptions.labels(*labels)
    for labels in product(actions, outcomes):
        counted.audit_events.labels(*labels)
    return counted


def counted() -> Counted:
    """The current application's."""
    return cast(Counted, current_app.extensions["metrics"])
