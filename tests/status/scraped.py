"""What /metrics answers, read as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import wait_until_counted

Labels = tuple[tuple[str, str], ...]


class Scraped:
    """One answer. Absent is None, which is another thing than 0."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in self.values, f"twice: {key}"
                self.values[key] = sample.value

    def value(self, name: str, **labels: str) -> float | None:
        return self.values.get((f"audiapro_{name}", tuple(sorted(labels.items()))))

    def all(self, name: str, *by: str) -> dict[Any, float]:
        """The values of a metric that are not 0, by these labels."""
        found = {}
        for (sample, labels), value in self.values.items():
            if sample == f"audiapro_{name}" and value:
                key = tuple(dict(labels)[label] for label in by)
                found[key[0] if len(key) == 1 else key] = value
        return found

    def labels(self) -> dict[str, set[str]]:
        """The labels of each metric by its name."""
        found: dict[str, set[str]] = {}
        for name, labels in self.values:
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found


def with_token(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {app.config['METRICS_TOKEN']}"
    return client


def scrape(app: Flask) -> Scraped:
    answer = with_token(app).get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scraped(answer.text)


def scrape_counted(app: Flask) -> Scraped:
    """Once the values of each key were counted, which the first to ask begins."""
    with_token(app).get("/metrics")
    wait_until_counted()
    return scrape(app)
