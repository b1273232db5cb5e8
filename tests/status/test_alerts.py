"""deploy/prometheus/alerts.yml: Prometheus takes it, each rule is about metrics that there are, fires when it should
and else does not, and leads to a page that says what to do."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.servers.promtool import promtool
from tests.test_documents import anchors

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "deploy/prometheus/alerts.yml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]}
SELECTOR = re.compile(r"\b((?:audiapro|process)_[a-z0-9_]+)(?:\{([^}]*)\})?")
SECONDS_A_DAY = 86_400

# How all is while it is well, as promtool takes it: values one after another. It begins in 1970.
A_DAY = 1_440
WELL = {
    'up{job="audiapro", instance="a"}': "1x{n}",
    'up{job="audiapro", instance="b"}': "1x{n}",
    'audiapro_build_info{instance="a"}': "1x{n}",
    'audiapro_redis_up{instance="a"}': "1x{n}",
    'audiapro_database_up{instance="a"}': "1x{n}",
    'audiapro_database_up{instance="b"}': "1x{n}",
    'audiapro_key_max_age_seconds{instance="a"}': f"{180 * SECONDS_A_DAY}x{{n}}",
    'audiapro_jwt_secret_first_used_timestamp_seconds{instance="a", key_id="jwt"}': "0x{n}",
    'audiapro_audit_sealed_timestamp_seconds{instance="a"}': "0+{s}x{n}",
    'audiapro_audit_newest_event_timestamp_seconds{instance="a"}': "1+{s}x{n}",
    'audiapro_ready{instance="a", check="database"}': "1x{n}",
    'audiapro_ready{instance="a", check="tenant_isolation"}': "1x{n}",
    'audiapro_http_requests_total{route="/x", method="GET", status="200"}': "0+100x{n}",
    'audiapro_http_requests_total{route="/x", method="GET", status="503"}': "0+1x{n}",
    'audiapro_http_request_duration_seconds_bucket{route="/x", method="GET", le="1.0"}': "0+99x{n}",
    'audiapro_http_request_duration_seconds_bucket{route="/x", method="GET", le="5.0"}': "0+100x{n}",
    'audiapro_http_request_duration_seconds_bucket{route="/x", method="GET", le="+Inf"}': "0+100x{n}",
    'audiapro_sign_ins_total{outcome="signed_in"}': "0+4x{n}",
    'audiapro_sign_ins_total{outcome="wrong_password"}': "0+8x{n}",
    'audiapro_audit_events_total{action="session.replayed", outcome="refused"}': "0x{n}",
    'audiapro_decryptions_total{column="users.totp_secret", outcome="opened"}': "0+5x{n}",
    'audiapro_decryptions_total{column="users.totp_secret", outcome="does_not_open"}': "0x{n}",
    'audiapro_decryptions_total{column="users.totp_secret", outcome="unknown_key"}': "0x{n}",
    'audiapro_rotation_running{instance="a"}': "0x{n}",
    'audiapro_rotation_proved{instance="a"}': "1x{n}",
    'audiapro_rotation_handled_values{instance="a"}': "10x{n}",
    'audiapro_encryption_key_info{instance="a", key_id="new", place="primary"}': "1x{n}",
    'audiapro_encryption_key_info{instance="a", key_id="old", place="fallback"}': "1x{n}",
    'audiapro_encryption_key_registered_timestamp_seconds{instance="a", key_id="new"}': "0x{n}",
    'audiapro_encryption_key_registered_timestamp_seconds{instance="a", key_id="old"}': f"-{400 * SECONDS_A_DAY}x{{n}}",
    'audiapro_encrypted_values{instance="a", column="users.totp_secret", key_id="new"}': "0x{n}",
    'audiapro_encrypted_values{instance="a", column="users.totp_secret", key_id="old"}': "3x{n}",
    'audiapro_encrypted_values_counted_timestamp_seconds{instance="a"}': "0+{s}x{n}",
    'audiapro_encrypted_values_counted_timestamp_seconds{instance="b"}': "0+{s}x{n}",
    'audiapro_deliveries_total{vendor="asterisk", outcome="accepted"}': "0+10x{n}",
    'audiapro_deliveries_total{vendor="unknown", outcome="refused"}': "0+1x{n}",
    'audiapro_database_pool_fullest_ratio{instance="a"}': "0.5x{n}",
    'audiapro_mails{instance="a", state="given_up"}': "2x{n}",
    'audiapro_mail_oldest_queued_timestamp_seconds{instance="a"}': "0+{s}x{n}",
}

# What is otherwise when each alert is to fire, and after how many minutes. None: it is not there at all.
A_WEEK = 7 * A_DAY
STOPS_AFTER_A_WEEK = f"0+10x{A_WEEK // 4 - 1} {A_WEEK * 10}x{{n}}"
FIRING = {
    "AudiaProMetricsAbsent": (10, {"audiapro_build_info": None}),
    "AudiaProTargetDown": (5, {'up{job="audiapro", instance="b"}': "0x{n}"}),
    "AudiaProRedisDown": (5, {'audiapro_redis_up{instance="a"}': "0x{n}"}),
    "AudiaProNotReady": (5, {'audiapro_ready{instance="a", check="database"}': "0x{n}"}),
    "AudiaProTenantIsolationMissing": (15, {'audiapro_ready{instance="a", check="tenant_isolation"}': "0x{n}"}),
    "AudiaProErrors": (20, {'audiapro_http_requests_total{route="/x", method="GET", status="503"}': "0+3x{n}"}),
    "AudiaProSlow": (
        30,
        {'audiapro_http_request_duration_seconds_bucket{route="/x", method="GET", le="1.0"}': "0+90x{n}"},
    ),
    "AudiaProSignInFailures": (30, {'audiapro_sign_ins_total{outcome="wrong_password"}': "0+21x{n}"}),
    "AudiaProRefreshTokenReplayed": (
        15,
        {'audiapro_audit_events_total{action="session.replayed", outcome="refused"}': "0x9 1x{n}"},
    ),
    "AudiaProSecretUnreadable": (
        15,
        {'audiapro_decryptions_total{column="users.totp_secret", outcome="does_not_open"}': "0x9 1x{n}"},
    ),
    "AudiaProUnknownKey": (
        15,
        {'audiapro_decryptions_total{column="users.totp_secret", outcome="unknown_key"}': "0x9 1x{n}"},
    ),
    "AudiaProRotationStalled": (
        60,
        {'audiapro_rotation_running{instance="a"}': "1x{n}", 'audiapro_rotation_proved{instance="a"}': "0x{n}"},
    ),
    "AudiaProRotationNotProved": (20, {'audiapro_rotation_proved{instance="a"}': "0x{n}"}),
    "AudiaProKeyOld": (
        120,
        {
            'audiapro_encryption_key_registered_timestamp_seconds{instance="a", key_id="new"}': (
                f"-{172 * SECONDS_A_DAY}x{{n}}"
            )
        },
    ),
    "AudiaProJwtSecretOld": (
        120,
        {
            'audiapro_jwt_secret_first_used_timestamp_seconds{instance="a", key_id="jwt"}': (
                f"-{172 * SECONDS_A_DAY}x{{n}}"
            )
        },
    ),
    "AudiaProAuditNotSealed": (
        A_DAY + 180,
        {'audiapro_audit_sealed_timestamp_seconds{instance="a"}': f"-{3 * SECONDS_A_DAY}x{{n}}"},
    ),
    "AudiaProFormerKeyUnused": (
        A_DAY + 120,
        {'audiapro_encrypted_values{instance="a", column="users.totp_secret", key_id="old"}': "0x{n}"},
    ),
    "AudiaProValuesNotCounted": (
        60,
        {'audiapro_encrypted_values_counted_timestamp_seconds{instance="b"}': "60x{n}"},
    ),
    "AudiaProNoDeliveries": (
        A_WEEK + 300,
        {
            'audiapro_deliveries_total{vendor="asterisk", outcome="accepted"}': STOPS_AFTER_A_WEEK,
            'audiapro_deliveries_total{vendor="unknown", outcome="refused"}': "0x{n}",
        },
    ),
    "AudiaProDeliveriesRefused": (40, {'audiapro_deliveries_total{vendor="unknown", outcome="refused"}': "0+11x{n}"}),
    "AudiaProPoolExhausted": (10, {'audiapro_database_pool_fullest_ratio{instance="a"}': "1x{n}"}),
    "AudiaProMailFailing": (60, {'audiapro_mails{instance="a", state="given_up"}': "2x29 3x{n}"}),
    "AudiaProMailWaiting": (40, {'audiapro_mail_oldest_queued_timestamp_seconds{instance="a"}': "60x{n}"}),
}

# What is to be noticed in another way too: as above.
FIRING_ALSO = [
    ("AudiaProValuesNotCounted", 60, {'audiapro_encrypted_values_counted_timestamp_seconds{instance="b"}': None}),
    ("AudiaProAuditNotSealed", A_DAY + 180, {"audiapro_audit_sealed_timestamp_seconds": None}),
]
# Nothing fires but this where the database alone is stopped.
ALONE_STOPPED = {
    'audiapro_ready{instance="a", check="database"}': "0x{n}",
    'audiapro_ready{instance="a", check="tenant_isolation"}': None,
    "audiapro_database_up": "0x{n}",
    "audiapro_encrypted_values_counted_timestamp_seconds": "60x{n}",
    "audiapro_audit": None,
}


def group(minutes: int, otherwise: dict[str, str | None], firing: list[str], every: int) -> dict:
    """A test of promtool: which alerts fire after so many minutes, and no other. every: minutes from value to value."""
    series = dict(WELL)
    for name, values in otherwise.items():
        known = [one for one in series if one.startswith(name)]
        assert known, name
        for one in known:
            del series[one]
            if values is not None:
                series[one] = values
    expected = [{"labels": json.dumps(name).join(["{alertname=", "}"]), "value": 1} for name in firing]
    return {
        "interval": f"{every}m",
        "input_series": [
            {"series": one, "values": values.format(n=minutes // every + 10, s=60 * every)}
            for one, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": expected,
            }
        ],
    }


def test_prometheus_takes_the_rules_and_each_fires_when_it_should_and_else_does_not(tmp_path):
    assert FIRING.keys() == RULES.keys()
    cases = [*((alert, *case) for alert, case in FIRING.items()), *FIRING_ALSO]
    cases += [("AudiaProNotReady", 120, ALONE_STOPPED)]
    soon = [group(minutes, changes, [alert], 1) for alert, minutes, changes in cases if minutes <= A_DAY]
    late = [group(minutes, changes, [alert], 4) for alert, minutes, changes in cases if minutes > A_DAY]
    for number, (evaluated, tests) in enumerate((("1m", [group(120, {}, [], 1), *soon]), ("1h", late))):
        file = tmp_path / f"{number}.yml"
        file.write_text(json.dumps({"rule_files": [str(FILE)], "evaluation_interval": evaluated, "tests": tests}))
        assert_fine("test", "rules", str(file))
    assert_fine("check", "rules", str(FILE))


def assert_fine(*arguments: str) -> None:
    done = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_leads_to_a_page_that_says_what_to_do(alert):
    assert RULES[alert]["labels"]["severity"] in ("info", "warning", "critical")
    page, _, anchor = RULES[alert]["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert alert.lower() in anchors(ROOT / "docs/observability.md")  # where somebody looks who has the name alone


def test_every_rule_is_about_metrics_and_labels_that_there_are(everything):
    known, asked = everything.labels(), set()
    for alert, rule in RULES.items():
        for name, labels in SELECTOR.findall(rule["expr"]):
            assert name in known, (alert, name)
            for label, values in re.findall(r'([a-z_]+)(?:=~|!=|=)"([^"]*)"', labels):
                assert label in known[name], (alert, name, label)
                asked |= {(name, label, value) for value in values.split("|") if not value.endswith(".")}
    shown = {(name, label, value) for name, labels in everything.values for label, value in labels}
    assert asked - shown - {("audiapro_http_requests_total", "status", "5..")} == set()
