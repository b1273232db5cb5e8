"""How references are written, and that a client is imported only where one needs it."""

import re
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import EXIT_CONFIG, PROJECT
from app.secret_sources import Refused
from app.secret_sources.reference import (
    FORMS,
    KmsCiphertext,
    Reference,
    SecretsManagerSecret,
    VaultSecret,
    looks_like_reference,
)
from tests.secret_sources.conftest import environ, fernet_key, refusal

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:audiapro/production-AbCdEf"
CIPHERTEXT = "AQICAHh+/" * 20 + "A=="


@pytest.mark.parametrize(
    ("text", "location", "field"),
    [
        ("aws-secretsmanager://audiapro", SecretsManagerSecret("audiapro", None), None),
        ("aws-secretsmanager://a/b_c.d@e+f=g-h", SecretsManagerSecret("a/b_c.d@e+f=g-h", None), None),
        ("aws-secretsmanager://audiapro#jwt", SecretsManagerSecret("audiapro", None), "jwt"),
        ("aws-secretsmanager://a?region=eu-west-1#b", SecretsManagerSecret("a", "eu-west-1"), "b"),
        (f"aws-secretsmanager://{ARN}", SecretsManagerSecret(ARN, "eu-central-1"), None),
        (f"aws-secretsmanager://{ARN}?region=eu-central-1#a", SecretsManagerSecret(ARN, "eu-central-1"), "a"),
        (
            f"aws-secretsmanager://{ARN.replace('aws:', 'aws-cn:', 1)}",
            SecretsManagerSecret(ARN.replace("aws:", "aws-cn:", 1), "eu-central-1"),
            None,
        ),
        (f"aws-kms://{CIPHERTEXT}", KmsCiphertext(CIPHERTEXT, None), None),
        (f"aws-kms://{CIPHERTEXT}?region=us-gov-west-1", KmsCiphertext(CIPHERTEXT, "us-gov-west-1"), None),
        ("vault://secret/audiapro#jwt", VaultSecret("secret", "audiapro"), "jwt"),
        ("vault://kv-v2/apps/audia.pro/~x:y#jwt-key", VaultSecret("kv-v2", "apps/audia.pro/~x:y"), "jwt-key"),
    ],
)
def test_a_reference_names_a_secret_and_perhaps_a_field(text, location, field):
    reference = Reference.parse(text)
    assert reference is not None
    assert (reference.location, reference.field) == (location, field)
    assert reference.shown == (text if "kms" not in text else "its aws-kms:// reference")


@pytest.mark.parametrize(
    "text",
    [
        "aws-secretsmanager://",
        "aws-secretsmanager://a b",
        "aws-secretsmanager://a#",
        "aws-secretsmanager://a?region=",
        "aws-secretsmanager://a?region=evil.example/",
        "aws-secretsmanager://a?version=2",
        "aws-secretsmanager://a#b?region=eu-west-1",
        f"aws-secretsmanager://{ARN}?region=eu-west-1",
        "aws-secretsmanager://arn:aws:ssm:eu-central-1:123456789012:parameter/a",
        "aws-kms://",
        "aws-kms://alias/audiapro",
        f"aws-kms://{CIPHERTEXT}#field",
        f"aws-kms://{CIPHERTEXT[:-1]}!",
        "vault://secret/audiapro",
        "vault://secret#jwt",
        "vault:///audiapro#jwt",
        "vault://secret/#jwt",
        "vault://secret/a//b#jwt",
        "vault://secret/a/../../sys/raw#jwt",
        "vault://../secret#jwt",
        "vault://secret/./a#jwt",
        "vault://secret/a?version=1#jwt",
        "vault://secret/a%2fb#jwt",
        "vault://token@secret/a#jwt",
        "vault://secret/a#jwt,other",
        "vault://secret/a#jwt\n",
    ],
)
def test_what_only_begins_like_a_reference_is_refused(text):
    form = FORMS[re.match(r"[a-z-]+://", text)[0]]
    with pytest.raises(Refused) as caught:
        Reference.parse(text)
    assert str(caught.value) == f"is not a reference as it must be written: {form}."


@given(st.text(max_size=60))
def test_any_text_behind_the_beginning_is_a_reference_or_refused(text):
    for beginning in ("aws-secretsmanager://", "aws-kms://", "vault://"):
        with suppress(Refused):
            assert Reference.parse(beginning + text) is not None


@pytest.mark.parametrize("text", ["arn:aws:x", "Vault://a/b#c", "'vault://a/b#c'", "awssm://a", "aws:x", "gcp-kms://a"])
def test_what_was_meant_to_be_a_reference_is_seen(text):
    assert Reference.parse(text) is None
    assert looks_like_reference(text)
    problems = refusal(environ(RESEND_API_KEY=text)).problems
    assert problems[0].startswith("RESEND_API_KEY is no secret, but looks like the address of one.")


@given(st.binary(min_size=24, max_size=64))
def test_no_random_key_looks_like_a_reference(raw):
    assert not looks_like_reference(raw.hex())
    assert not looks_like_reference(fernet_key())


@pytest.mark.parametrize(
    ("package", "extra", "reference"),
    [
        ("boto3", "aws", "aws-secretsmanager://audiapro"),
        ("boto3", "aws", f"aws-kms://{CIPHERTEXT}"),
        ("hvac", "vault", "vault://secret/audiapro#key"),
    ],
)
def test_a_missing_client_is_told_with_the_command_that_installs_it(package, extra, reference, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"app.secret_sources.{extra}", raising=False)
    error = refusal(environ(ENCRYPTION_KEY=reference))
    assert error.problems[0].endswith(f"is not installed: python -m pip install -r requirements-{extra}.txt")
    assert error.exit_code == EXIT_CONFIG


def test_the_clients_are_installed_beside_the_service_and_not_instead_of_what_it_needs():
    def pinned(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (PROJECT / name).read_text(), re.MULTILINE))

    service = {pin.partition("==")[0] for pin in pinned("requirements.txt")}
    for extra in ("requirements-aws.txt", "requirements-vault.txt"):
        shared = {pin for pin in pinned(extra) if pin.partition("==")[0] in service}
        assert shared
        assert shared <= pinned("requirements.txt")
        assert pinned(extra) <= pinned("requirements-dev.txt")
