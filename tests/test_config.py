"""The configuration: what is read from where, what is refused, and that no report gives a secret away."""

import base64
import hashlib
import os
import pickle
import random
import secrets
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from limits import parse
from sqlalchemy import make_url

from app.config import (
    EXIT_CONFIG,
    PROJECT,
    VARIABLES,
    ConfigurationError,
    Settings,
    load_settings,
)
from app.encryption.keyring import MasterKey
from app.key_checks import PUBLISHED, WEAK_WORDS
from app.limits.limit import Limit, default_rates

SECRETS = [variable.name for variable in VARIABLES if variable.secret]
NAMES = [variable.name for variable in VARIABLES]

# Put together here, so that no scanner takes them for secrets of ours.
GUIDE_JWT = "5OK7xUNPhKub8w1hKDB" + "9RnX2AMbflkEKoBgG4robNa0"
GUIDE_FERNET = "sW7IDYTFIB0tqy5NUMb" + "HG5q7AYokVAoEtAP1tZuQDMI="


def fernet_key() -> str:
    return Fernet.generate_key().decode()


def environ(**changes: str) -> dict[str, str]:
    """A configuration that is accepted, changed. Names of files and variables may be replaced or emptied."""
    return {"JWT_SECRET_KEY": secrets.token_urlsafe(48), "ENCRYPTION_KEY": fernet_key()} | changes


def load(**changes: str) -> Settings:
    return load_settings(environ(**changes), None)


def refused(variables: dict[str, str], env_file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables, env_file)
    return caught.value.problems


MAIL = {"RESEND_FROM_EMAIL": "AudiaPro <no-reply@mail.acme.example>", "PUBLIC_URL": "https://app.acme.example"}


def only_problem(**changes: str) -> str:
    (problem,) = refused(environ(**changes))
    return problem


def private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path


# What is read, and from where


def test_two_keys_are_all_that_is_needed():
    variables = environ()
    settings = load_settings(variables, None)
    assert settings.environment == "production"
    assert settings.keyring.primary == MasterKey.parse(variables["ENCRYPTION_KEY"])
    assert settings.keyring.fallbacks == ()
    assert settings.jwt_secret_key == variables["JWT_SECRET_KEY"]
    assert settings.jwt_secret_key_fallbacks == ()
    assert make_url(settings.database_url).database == str(PROJECT / "instance" / "audiapro.db")
    assert (settings.rotation_database_url, settings.redis_url, settings.port) == (None, None, 5000)
    assert settings.access_token_expires == timedelta(seconds=900)
    assert settings.refresh_token_expires == timedelta(hours=24)
    assert settings.warnings == ()


def test_every_variable_arrives_in_its_setting():
    old, older, old_jwt = fernet_key(), secrets.token_hex(32), secrets.token_urlsafe(32)
    settings = load(
        APP_ENV="development",
        ENCRYPTION_KEY_FALLBACKS=f" {old} ,, {older},",
        JWT_SECRET_KEY_FALLBACKS=f"{old_jwt} , ",
        DATABASE_URL="postgresql://app@db/audiapro",
        ROTATION_DATABASE_URL="postgres://app@direct/audiapro",
        REDIS_URL="rediss://:pw@cache:6380/0",
        PORT="8080",
        JWT_ACCESS_TOKEN_EXPIRES="60",
        JWT_REFRESH_TOKEN_EXPIRES="3600",
        SESSION_IDLE_EXPIRES="1800",
        AUDIT_RETENTION_DAYS="30",
        SIGNUP="closed",
        FLASK_DEBUG="1",
        CORS_ORIGINS="https://app.acme.example, http://localhost:5173 ,",
        OUTBOUND_ALLOWED_NETWORKS="10.20.0.0/16, fd12:3456::/48 ,192.168.7.9,",
        RATELIMIT_SIGN_IN="100 per 5 minutes",
        RATELIMIT_TENANT_BUDGET="500",
    )
    assert (settings.sign_up_open, load().sign_up_open) == (False, True)
    assert settings.cors_origins == ("https://app.acme.example", "http://localhost:5173")
    assert [*map(str, settings.outbound_networks)] == ["10.20.0.0/16", "fd12:3456::/48", "192.168.7.9/32"]
    assert load().outbound_networks == ()
    assert settings.rates == default_rates() | {Limit.SIGN_IN: parse("100 per 5 minutes")}
    assert settings.tenant_budget == 500
    assert settings.environment == "development"
    assert settings.keyring.fallbacks == (MasterKey.parse(old), MasterKey.parse(older))
    assert settings.jwt_secret_key_fallbacks == (old_jwt,)
    assert settings.database_url == "postgresql+psycopg://app@db/audiapro"
    assert settings.rotation_database_url == "postgresql+psycopg://app@direct/audiapro"
    assert settings.redis_url == "rediss://:pw@cache:6380/0"
    assert (settings.port, settings.access_token_expires.seconds, settings.refresh_token_expires.seconds) == (
        8080,
        60,
        3600,
    )
    assert (settings.session_idle_expires.seconds, settings.audit_retention.days) == (1800, 30)


def test_the_process_environment_wins_over_the_file_and_an_empty_value_does_not_count(tmp_path):
    lines = [f"{name}={value}" for name, value in environ(PORT="7000", JWT_ACCESS_TOKEN_EXPIRES="70").items()]
    env_file = private(tmp_path / ".env", "\n".join(lines))
    settings = load_settings({"PORT": "8000", "JWT_ACCESS_TOKEN_EXPIRES": "", "JWT_SECRET_KEY": " "}, env_file)
    assert settings.port == 8000
    assert settings.access_token_expires == timedelta(seconds=70)
    assert settings.warnings == ()


def test_without_arguments_the_process_environment_is_read(monkeypatch):
    for name, value in environ(PORT="6001").items():
        monkeypatch.setenv(name, value)
    assert load_settings(env_file=None).port == 6001


def test_a_missing_file_is_no_problem_and_a_dollar_sign_alone_is_just_a_character(tmp_path):
    assert load_settings(environ(), tmp_path / "none").port == 5000
    jwt = "$HOME$" + secrets.token_urlsafe(32)
    env_file = private(tmp_path / ".env", f"JWT_SECRET_KEY='{jwt}'\nexport ENCRYPTION_KEY={fernet_key()} # old\nPORT\n")
    assert load_settings({}, env_file).jwt_secret_key == jwt


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_come_from_a_file(name, tmp_path):
    value = {
        "DATABASE_URL": "sqlite:////srv/other.db",
        "ROTATION_DATABASE_URL": "sqlite:////srv/other.db",
        "REDIS_URL": "redis://cache",
    }.get(name, fernet_key())
    path = private(tmp_path / "value", value + "\n")
    settings = load(**MAIL, **{name: "", f"{name}_FILE": str(path)})
    read = {
        "RESEND_API_KEY": settings.resend_api_key,
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "JWT_SECRET_KEY_FALLBACKS": ",".join(settings.jwt_secret_key_fallbacks),
        "DATABASE_URL": settings.database_url,
        "ROTATION_DATABASE_URL": settings.rotation_database_url,
        "REDIS_URL": settings.redis_url,
        "METRICS_TOKEN": settings.metrics_token,
    }
    keys = {"ENCRYPTION_KEY": settings.keyring.primary, "ENCRYPTION_KEY_FALLBACKS": settings.keyring.fallbacks[:1]}
    if name in read:
        assert read[name] == value
    else:
        assert keys[name] in (MasterKey.parse(value), (MasterKey.parse(value),))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_set_in_both_ways_is_refused(name, tmp_path):
    path = private(tmp_path / "value", fernet_key())
    values = {"DATABASE_URL": "sqlite:////x", "ROTATION_DATABASE_URL": "sqlite:////x", "REDIS_URL": "redis://h"}
    changes = {name: values.get(name, fernet_key()), f"{name}_FILE": str(path)}
    assert only_problem(**MAIL, **changes) == f"{name} and {name}_FILE are both set. Keep one of them."


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_file_that_cannot_be_read_is_refused_by_its_path(name, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        problem = only_problem(**{name: "", f"{name}_FILE": str(path)})
        assert f"{name}_FILE" in problem
        assert str(path) in problem


def test_it_is_known_from_what_kind_of_place_each_secret_came(tmp_path):
    path = private(tmp_path / "value", fernet_key())
    variables = environ(ENCRYPTION_KEY="", ENCRYPTION_KEY_FILE=str(path), JWT_SECRET_KEY_FALLBACKS=" , ", PORT="80")
    assert load_settings(variables, None).origins == {"JWT_SECRET_KEY": "literal", "ENCRYPTION_KEY": "file"}


def test_an_empty_secret_file_counts_as_not_set(tmp_path):
    path = private(tmp_path / "value", " \n")
    assert "ENCRYPTION_KEY is not set" in only_problem(ENCRYPTION_KEY="", ENCRYPTION_KEY_FILE=str(path))
    assert load(ENCRYPTION_KEY_FALLBACKS_FILE=str(path)).keyring.fallbacks == ()


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "value"
    path.write_bytes(b"\xff\xfe" * 40)
    assert "not UTF-8 text" in only_problem(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(path))
    assert "not UTF-8 text" in refused(environ(), path)[0]


def test_only_secrets_are_read_from_files(tmp_path):
    path = private(tmp_path / "value", "7000")
    assert load(PORT_FILE=str(path)).port == 5000


# File modes


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620, 0o666, 0o777])
def test_a_file_that_others_can_reach_is_reported_with_its_mode_and_the_way_to_close_it(mode, tmp_path):
    env_file = private(tmp_path / "my .env", "\n".join(f"{name}={value}" for name, value in environ().items()))
    redis = private(tmp_path / "redis", "redis://cache\n")
    assert load_settings({"REDIS_URL_FILE": str(redis)}, env_file).warnings == ()
    for path in (env_file, redis):
        path.chmod(mode)
    first, second = load_settings({"REDIS_URL_FILE": str(redis)}, env_file).warnings
    assert f"{mode:04o}" in first
    assert f"chmod 600 '{env_file}'" in first
    assert f"{mode:04o}" in second
    assert "REDIS_URL_FILE" in second
    assert f"chmod 600 {redis}" in second


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_not_reported(mode, tmp_path):
    env_file = private(tmp_path / ".env", "PORT=7000")
    env_file.chmod(mode)
    assert load_settings(environ(), env_file).warnings == ()


def test_what_is_mounted_read_only_is_not_reported_for_nobody_could_close_it(tmp_path, monkeypatch):
    path = private(tmp_path / "redis", "redis://cache")
    path.chmod(0o444)
    given = environ(REDIS_URL_FILE=str(path))
    assert len(load_settings(given, None).warnings) == 1
    mounted = os.statvfs_result((*os.statvfs(tmp_path)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: mounted)
    settings = load_settings(given, None)
    assert (settings.redis_url, settings.warnings) == ("redis://cache", ())


# Keys


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "ENCRYPTION_KEY"])
def test_a_missing_key_is_refused_with_the_command_that_makes_one(name):
    problem = only_problem(**{name: ""})
    assert problem.startswith(f"{name} is not set.")
    assert "python generate_keys.py --only" in problem


WEAK_TEXTS = [
    "a" * 64,
    "abcabcabc" * 6,
    "my-Super-SECRET-key-that-nobody-knows",
    "PassWord1PassWord2PassWord3PassWord4",
    "please-CHANGEME-before-you-deploy-it",
    "change-me-to-something-long-and-fine",
    "some-Example-of-a-key-for-the-manual",
    "the-default-signing-key-of-this-host",
    "a-placeholder-with-forty-characters!",
    "your-jwt-key-goes-here-0987-zyxw-vut",
    "Your_own_key_with_many_letters_in_it",
    "this-is-a-test-key-for-the-pipeline!",
    "0123456789abcdef0123456789abcdef",
    "tZ4-kQ9vB2nX7mW5" * 3,
]


@pytest.mark.parametrize("text", WEAK_TEXTS)
@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS"])
def test_a_weak_jwt_secret_is_refused_as_fallback_too(name, text):
    assert all(name in problem and "is weak" in problem for problem in refused(environ(**{name: text})))


@pytest.mark.parametrize("length", [1, 31])
def test_a_jwt_secret_under_32_characters_is_refused(length):
    problems = refused(environ(JWT_SECRET_KEY="aB3dE6gH9kL2nP5rS8uW1yZ4cF7iJ0mO"[:length]))
    assert "JWT_SECRET_KEY is shorter than 32 characters" in problems[0]
    load(JWT_SECRET_KEY="aB3dE6gH9kL2nP5rS8uW1yZ4cF7iJ0mO")


@pytest.mark.parametrize(
    ("token", "flaw"),
    [
        ("aB3dE6gH9kL2nP5rS8uW1yZ4cF7iJ0m", "is shorter than 32 characters"),
        ("ab" * 20, "has fewer than 10 different characters, or is one piece repeated"),
        ("my-password-4cF7iJ0mOaB3dE6gH9kL2nP5rS8uW1yZ", "contains a word such as secret"),
        (GUIDE_JWT, "has been published"),
        ("aB3dE6gH9kL2nP5rS 8uW1yZ4cF7iJ0mO", "has characters that cannot be sent"),
        ("aB3dE6gH9kL2nP5rS8uW1yZ4cF7iJ0mOé", "has characters that cannot be sent"),
    ],
)
def test_a_weak_token_for_monitoring_is_refused(token, flaw):
    problem = only_problem(METRICS_TOKEN=token)
    assert problem.startswith("METRICS_TOKEN")
    assert flaw in problem
    assert problem.endswith("Make a new one: python generate_keys.py --only metrics")
    assert token not in problem


def test_a_token_for_monitoring_is_no_other_key():
    key = fernet_key()
    assert "METRICS_TOKEN is the same key as" in only_problem(METRICS_TOKEN=key, ENCRYPTION_KEY=key)
    assert load().metrics_token is None


@pytest.mark.parametrize("text", ["short", "x" * 45, "AB=" * 15, "é" * 43, "0x" + "ab" * 31, "A" * 42 + "+"])
@pytest.mark.parametrize("name", ["ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS"])
def test_a_malformed_encryption_key_is_refused(name, text):
    assert any(name in problem and "must be a Fernet key" in problem for problem in refused(environ(**{name: text})))


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64encode(bytes(32)).decode(),
        bytes(32).hex(),
        b"0123456789abcdef".hex() * 2,
        "00112233445566778899aabbccddeeff" * 2,
        base64.urlsafe_b64encode(b"my secret of 32 characters, yes!").decode(),
        b"my secret of 32 characters, yes!".hex(),
        "changeme-changeme-changeme-changeme-123-ABC",
        "AB" * 22,
    ],
)
@pytest.mark.parametrize("name", ["ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS"])
def test_a_master_key_that_was_not_drawn_at_random_is_refused(name, text):
    assert any(name in problem and "is weak" in problem for problem in refused(environ(**{name: text})))


def forms(text: str) -> list[str]:
    """A key of 32 bytes as it can be written down."""
    bare = text.rstrip("=")
    raw = base64.urlsafe_b64decode(bare + "=")
    return [bare, bare + "=", raw.hex(), raw.hex().upper()]


@pytest.mark.parametrize(
    "name", ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS", "ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS"]
)
@pytest.mark.parametrize("text", forms(GUIDE_JWT) + forms(GUIDE_FERNET))
def test_a_key_from_a_guide_is_refused_wherever_and_however_it_is_written(name, text):
    problem = only_problem(**{name: text})
    assert name in problem
    assert "has been published" in problem


def test_published_keys_are_kept_as_hashes_of_their_bytes():
    raw = [base64.urlsafe_b64decode(text.rstrip("=") + "=") for text in (GUIDE_JWT, GUIDE_FERNET)]
    assert {hashlib.sha256(key).hexdigest() for key in raw} < PUBLISHED
    assert all(len(entry) == 64 for entry in PUBLISHED)


def test_a_published_text_that_is_no_master_key_is_refused_as_jwt_secret():
    text = "c292a0a3aa32397c" + "db050e233733900f"
    assert "has been published" in only_problem(JWT_SECRET_KEY=text)


KEY_VARIABLES = ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS", "ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS"]


@pytest.mark.parametrize("one", KEY_VARIABLES)
@pytest.mark.parametrize("other", KEY_VARIABLES)
@pytest.mark.parametrize("form", [0, 1, 2, 3])
def test_one_key_in_two_places_is_refused_however_it_is_written(one, other, form):
    key = fernet_key()
    changes = {one: key, other: forms(key)[form]}
    if one == other:
        if not one.endswith("FALLBACKS"):
            return
        changes = {one: f"{key},{forms(key)[form]}"}
    problem = only_problem(**changes)
    assert "is the same key as" in problem
    assert one in problem
    assert other in problem


def test_a_jwt_secret_in_the_other_base64_alphabet_is_seen_to_be_the_encryption_key():
    raw = b"\xfb\xff" + secrets.token_bytes(30)
    standard = base64.b64encode(raw).decode()
    assert {"+", "/"} <= set(standard)
    changes = {"JWT_SECRET_KEY": standard, "ENCRYPTION_KEY": base64.urlsafe_b64encode(raw).decode()}
    assert "is the same key as JWT_SECRET_KEY" in only_problem(**changes)


def test_jwt_secrets_that_are_no_master_keys_are_compared_as_text():
    jwt = secrets.token_urlsafe(48)
    problem = only_problem(JWT_SECRET_KEY=jwt, JWT_SECRET_KEY_FALLBACKS=f"{secrets.token_urlsafe(48)},{jwt}")
    assert "key 2 of JWT_SECRET_KEY_FALLBACKS is the same key as JWT_SECRET_KEY" in problem


def test_two_encryption_keys_with_the_same_id_are_refused():
    # Found by trying: with ids of 32 bits it takes some 70,000 keys.
    first, second = (hashlib.sha256(str(number).encode()).digest() for number in (20634, 75768))
    assert MasterKey(first).id == MasterKey(second).id
    problem = only_problem(ENCRYPTION_KEY=first.hex(), ENCRYPTION_KEY_FALLBACKS=second.hex())
    assert "the same id as ENCRYPTION_KEY" in problem


@given(st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) >= 20))
def test_random_master_keys_are_accepted_in_every_form(raw):
    for text in forms(base64.urlsafe_b64encode(raw).decode()):
        assert load(ENCRYPTION_KEY=text).keyring.primary == MasterKey(raw)


def test_random_secrets_do_not_look_like_placeholders():
    draw = random.Random(7)
    texts = [base64.urlsafe_b64encode(draw.randbytes(32)).decode() for _ in range(30_000)]
    assert not [text for text in texts if WEAK_WORDS.search(text) or len(set(text)) < 10]


# The other values


@pytest.mark.parametrize("value", ["1", "true", "True", "on", "yes", "2", "debug"])
def test_debug_mode_is_refused_in_production_only(value):
    assert "FLASK_DEBUG is on in production" in only_problem(FLASK_DEBUG=value)
    assert load(FLASK_DEBUG=value, APP_ENV="development").environment == "development"


@pytest.mark.parametrize("value", ["", "0", "false", "False", "no"])
def test_debug_mode_may_be_switched_off_in_words(value):
    assert load(FLASK_DEBUG=value).environment == "production"


@pytest.mark.parametrize("value", ["prod", "Production", "test", "staging"])
def test_an_unknown_environment_is_refused(value):
    assert only_problem(APP_ENV=value) == "APP_ENV must be production or development."


@pytest.mark.parametrize(
    "value", ["0", "-1", "65536", "http", "5000.0", "+80", "8_0", "\u0665\u0660\u0660", "1" * 5000, "80 81"]
)
def test_a_port_that_is_none_is_refused(value):
    assert only_problem(PORT=value) == "PORT must be a whole number from 1 to 65535."


@pytest.mark.parametrize("name", ["JWT_ACCESS_TOKEN_EXPIRES", "JWT_REFRESH_TOKEN_EXPIRES", "SESSION_IDLE_EXPIRES"])
@pytest.mark.parametrize("value", ["0", "-900", "15m", "1e3", "900.5", "9" * 30])
def test_a_lifetime_that_is_not_a_positive_number_of_seconds_is_refused(name, value):
    assert only_problem(**{name: value}).startswith(f"{name} must be a whole number")


@given(st.integers(1, 65_535))
def test_every_port_is_accepted(port):
    assert load(PORT=str(port)).port == port


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("postgres://u:p@db.example.com:5432/n", "postgresql+psycopg://u:p@db.example.com:5432/n?sslmode=require"),
        ("postgresql://u:p@db.example.com/n", "postgresql+psycopg://u:p@db.example.com/n?sslmode=require"),
        ("postgresql+psycopg://u:p@db/n", "postgresql+psycopg://u:p@db/n?sslmode=require"),
        (
            "postgres://u:p@10.0.0.5/n?application_name=x",
            "postgresql+psycopg://u:p@10.0.0.5/n?application_name=x&sslmode=require",
        ),
        ("postgres://u:p@h/n?sslmode=disable", "postgresql+psycopg://u:p@h/n?sslmode=disable"),
        ("postgres://u:p@h/n?sslmode=verify-full", "postgresql+psycopg://u:p@h/n?sslmode=verify-full"),
        ("postgres://u:p%40%2F%23x@h/n", "postgresql+psycopg://u:p%40%2F%23x@h/n?sslmode=require"),
        ("postgres://u:p@localhost/n", "postgresql+psycopg://u:p@localhost/n"),
        ("postgres://u:p@LocalHost/n", "postgresql+psycopg://u:p@LocalHost/n"),
        ("postgres://u:p@127.0.0.1:5433/n", "postgresql+psycopg://u:p@127.0.0.1:5433/n"),
        ("postgres://u:p@127.8.8.8/n", "postgresql+psycopg://u:p@127.8.8.8/n"),
        ("postgres://u:p@[::1]:5433/n", "postgresql+psycopg://u:p@[::1]:5433/n"),
        ("postgres://u:p@[2001:db8::1]/n", "postgresql+psycopg://u:p@[2001:db8::1]/n?sslmode=require"),
        ("postgres:///n", "postgresql+psycopg:///n"),
        ("postgres://u@/n?host=/var/run/postgresql", "postgresql+psycopg://u@/n?host=%2Fvar%2Frun%2Fpostgresql"),
        ("postgres://u@/n?host=localhost:5433", "postgresql+psycopg://u@/n?host=localhost%3A5433"),
        ("postgres://u@/n?host=::1", "postgresql+psycopg://u@/n?host=%3A%3A1"),
        ("postgres://u@/n?host=a:1&host=b:2", "postgresql+psycopg://u@/n?host=a%3A1&host=b%3A2&sslmode=require"),
        ("postgres://u@/n?host=/run,b", "postgresql+psycopg://u@/n?host=%2Frun%2Cb&sslmode=require"),
        (
            "postgres://u@localhost/n?hostaddr=10.0.0.5",
            "postgresql+psycopg://u@localhost/n?hostaddr=10.0.0.5&sslmode=require",
        ),
        ("postgres://u@localhost.example.com/n", "postgresql+psycopg://u@localhost.example.com/n?sslmode=require"),
        ("sqlite:////srv/audiapro.db", "sqlite:////srv/audiapro.db"),
        ("sqlite:///data/audiapro.db", f"sqlite:///{PROJECT}/data/audiapro.db"),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "ROTATION_DATABASE_URL"])
def test_a_database_url_gets_the_installed_driver_and_tls_towards_other_machines(name, given_url, expected):
    settings = load(**{name: given_url})
    url = {"DATABASE_URL": settings.database_url, "ROTATION_DATABASE_URL": settings.rotation_database_url}[name]
    assert url is not None
    assert make_url(url) == make_url(expected)


def test_development_does_not_ask_for_tls():
    settings = load(DATABASE_URL="postgres://u:p@db/n", APP_ENV="development")
    assert settings.database_url == "postgresql+psycopg://u:p@db/n"


@pytest.mark.parametrize(
    "url",
    [
        "audiapro.db",
        "sqlite:/tmp/x.db",
        "sqlite://audiapro.db",
        "mysql://u:p@h/n",
        "postgresql+psycopg2://u:p@h/n",
        "postgresql://u:p@h:port/n",
        "postgresql://u:p@h:99999/n",
        "postgresql://u:p@word@h/n",
        "postgresql://u:p@w#rd@h/n",
        "postgresql://u:p@w/rd@h/n",
        "postgresql://h1:1,h2:2/n",
        "https://h/n",
        "://",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "ROTATION_DATABASE_URL"])
def test_a_url_of_no_known_database_is_refused(name, url):
    assert only_problem(**{name: url}).startswith(f"{name} is not the URL of a PostgreSQL or SQLite database.")


@pytest.mark.parametrize(
    "url", ["redis://cache", "redis://:p%40w@10.0.0.1:6380/2", "rediss://u:p@h", "unix:///run/redis.sock"]
)
def test_a_redis_url_is_passed_on_as_it_is(url):
    assert load(REDIS_URL=url).redis_url == url


def test_the_certificate_of_redis_is_checked_unless_the_operator_does_without():
    for url, without in (
        ("rediss://:p@h:6380", "rediss://:p@h:6380?ssl_cert_reqs=none"),
        ("rediss://:p@h:6380/1?socket_timeout=1", "rediss://:p@h:6380/1?socket_timeout=1&ssl_cert_reqs=none"),
        ("redis://:p@h:6379", "redis://:p@h:6379"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ):
        assert load(REDIS_URL=url).redis_url == url
        assert load(REDIS_URL=url, REDIS_CERTIFICATE="unchecked").redis_url == without
    assert load(REDIS_CERTIFICATE="unchecked").redis_url is None
    assert only_problem(REDIS_CERTIFICATE="no") == "REDIS_CERTIFICATE must be checked or unchecked."


# Proxies


@pytest.mark.parametrize("name", ["X_Real_IP", "X Real", "", "X:", "1x", "\N{KELVIN SIGN}", "x" * 65])
def test_a_name_that_is_no_headers_is_refused(name):
    given = {"TRUSTED_PROXY_HOPS": "1", "CLIENT_ADDRESS_HEADER": name}
    if name:
        assert only_problem(**given) == "CLIENT_ADDRESS_HEADER must be the name of a header, such as X-Forwarded-For."
    else:
        assert load(**given).client_address_header == "X-Forwarded-For"


def test_another_header_is_believed_of_a_proxy_alone():
    assert load(CLIENT_ADDRESS_HEADER="x-forwarded-for").trusted_proxy_hops == 0
    assert load(CLIENT_ADDRESS_HEADER="DO-Connecting-IP", TRUSTED_PROXY_HOPS="1").trusted_proxy_hops == 1
    assert "set TRUSTED_PROXY_HOPS, too" in only_problem(CLIENT_ADDRESS_HEADER="DO-Connecting-IP")


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        "http://cache",
        "redis://",
        "redis://:pw@",
        "redis://h:port",
        "redis://h:0",
        "unix://",
        "redis://[::1",
        "redis://:a/b@h",
    ],
)
def test_a_url_of_no_redis_is_refused(url):
    assert only_problem(REDIS_URL=url).startswith("REDIS_URL is not a Redis URL.")


# Reports


# Mail


@pytest.mark.parametrize(
    "sender",
    [
        "no-reply@mail.acme.example",
        "AudiaPro <no-reply@mail.acme.example>",
        '"AudiaPro, Ltd." <no-reply@mail.acme.example>',
        "Überblick GmbH <no-reply@mail.acme.example>",
    ],
)
def test_a_sender_is_an_address_with_or_without_a_name(sender):
    assert load(RESEND_FROM_EMAIL=sender).mail_from == sender


@pytest.mark.parametrize(
    "sender",
    [
        "AudiaPro",
        "no-reply@",
        "one@acme.example, other@acme.example",
        "One <one@acme.example>, other@acme.example",
        "One <one@acme.example> <other@acme.example>",
        "AudiaPro <no-reply@acme.example>\r\nBcc: eve@evil.example",
        "AudiaPro\nBcc: eve@evil.example <no-reply@acme.example>",
        "Audia\tPro <no-reply@acme.example>",
        "a@b@acme.example",
    ],
)
def test_what_is_not_one_sender_is_refused(sender):
    assert only_problem(RESEND_FROM_EMAIL=sender).startswith("RESEND_FROM_EMAIL must be an address")


@pytest.mark.parametrize("url", ["https://app.acme.example", "https://app.acme.example/", "https://[::1]:8443/audia"])
def test_a_public_url_is_kept_without_its_last_slash(url):
    assert load(PUBLIC_URL=url).public_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "app.acme.example",
        "//app.acme.example",
        "http://app.acme.example",
        "ftp://app.acme.example",
        "javascript:alert(1)",
        "https://",
        "https://user:password@app.acme.example",
        "https://@app.acme.example",
        "https://app.acme.example/?next=1",
        "https://app.acme.example/#top",
        "https://app.acme.example/a b",
        'https://app.acme.example/">',
        "https://app.acme.example\n",
        "https://app.acme.example:0",
        "https://app.acme.example:port",
        "https://[app",
    ],
)
def test_a_public_url_that_links_cannot_begin_with_is_refused(url):
    url = url.replace("\n", "\n/x")
    assert only_problem(PUBLIC_URL=url).startswith("PUBLIC_URL must be an absolute URL")


def test_development_needs_no_https():
    assert load(APP_ENV="development", PUBLIC_URL="http://localhost:5000").public_url == "http://localhost:5000"


@pytest.mark.parametrize("key", ["re key", "re_ké", "re_\nkey", "re_\x7f"])
def test_a_mail_key_that_no_header_can_hold_is_refused(key):
    assert only_problem(**MAIL, RESEND_API_KEY=key).startswith("RESEND_API_KEY has blanks")


def test_a_mail_key_needs_a_sender_and_a_public_url():
    assert [problem.split()[0] for problem in refused(environ(RESEND_API_KEY="re_key"))] == [*MAIL]
    only_sender = {"RESEND_FROM_EMAIL": MAIL["RESEND_FROM_EMAIL"]}
    assert load(APP_ENV="development", RESEND_API_KEY="re_key", **only_sender).public_url is None


def test_all_problems_are_reported_in_one_go(tmp_path):
    problems = refused(
        {
            "APP_ENV": "staging",
            "JWT_SECRET_KEY": "short",
            "JWT_SECRET_KEY_FALLBACKS": GUIDE_JWT,
            "ENCRYPTION_KEY_FILE": str(tmp_path / "missing"),
            "ENCRYPTION_KEY_FALLBACKS": f"nonsense,{GUIDE_JWT}",
            "DATABASE_URL": "mysql://h",
            "ROTATION_DATABASE_URL": "mysql://h",
            "REDIS_URL": "http://h",
            "REDIS_CERTIFICATE": "lost",
            "PORT": "0",
            "WEB_CONCURRENCY": "0",
            "TRUSTED_PROXY_HOPS": "-1",
            "CLIENT_ADDRESS_HEADER": "X Real: 1",
            "JWT_ACCESS_TOKEN_EXPIRES": "0",
            "JWT_REFRESH_TOKEN_EXPIRES": "0",
            "SESSION_IDLE_EXPIRES": "0",
            "SIGNUP": "ajar",
            "METRICS_TOKEN": "short",
            "AUDIT_RETENTION_DAYS": "0",
            "KEY_MAX_AGE_DAYS": "0",
            "FLASK_DEBUG": "1",
            "RESEND_API_KEY": "re key",
            "RESEND_FROM_EMAIL": "nobody",
            "PUBLIC_URL": "localhost",
            "CORS_ORIGINS": "*",
            "OUTBOUND_ALLOWED_NETWORKS": "*",
            "RATELIMIT_TENANT_BUDGET": "0",
            **{limit.variable: "often" for limit in Limit},
        }
    )
    for variable in VARIABLES:
        assert any(variable.name in problem for problem in problems), variable.name
    assert any("same key as" in problem for problem in problems)
    report = str(ConfigurationError(problems))
    assert all(f"- {problem}" in report for problem in problems)
    assert f"{len(problems)} problems" in report


def test_a_report_tells_a_newcomer_what_to_do():
    report = str(ConfigurationError(refused({})))
    assert report.splitlines() == [
        "AudiaPro cannot start: 2 problems in the configuration.",
        "  - JWT_SECRET_KEY is not set. Make a new one: python generate_keys.py --only jwt",
        "  - ENCRYPTION_KEY is not set. Make a new one: python generate_keys.py --only encryption",
        "Every variable is described in docs/configuration.md.",
    ]
    assert EXIT_CONFIG == os.EX_CONFIG


CANARY = "Zq7Canary"


def shown(error: BaseException) -> str:
    """Everything that a log could show of an error."""
    chain = "".join(traceback.format_exception(error))
    return f"{chain} {error} {error!r} {error.args!r} {vars(error)!r} {error.__context__!r} {error.__cause__!r}"


CANARIES = [
    CANARY,
    CANARY * 5,
    f"{CANARY}secret-password-example",
    f"{CANARY}{'A' * 34}",
    f"{CANARY}{'A' * 34}=",
    f"{CANARY},{CANARY}",
    f"postgresql://u:{CANARY}@h:{CANARY}/n",
    f"postgresql://u:p@{CANARY}@h/n",
    f"mysql://u:{CANARY}@h/n",
    f"redis://:{CANARY}@h:{CANARY}",
    f"redis://[{CANARY}",
    f"sqlite://{CANARY}",
    f"vault://{CANARY}",
    f"aws-kms://{CANARY}",
    f"arn:aws:secretsmanager:{CANARY}",
    f"é\udcff{CANARY}",
    f"{CANARY}\0",
]


@pytest.mark.parametrize("value", CANARIES)
@pytest.mark.parametrize("name", NAMES + [f"{name}_FILE" for name in SECRETS])
def test_no_report_repeats_a_value(name, value, tmp_path):
    variables = environ(**{name: value})
    if name.endswith("_FILE"):
        variables.pop(name.removesuffix("_FILE"), None)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables | {"APP_ENV": variables.get("APP_ENV", "staging")}, None)
    assert CANARY not in shown(caught.value)
    assert not any(
        variables.get(key, "none") in shown(caught.value) for key in ("JWT_SECRET_KEY", "ENCRYPTION_KEY") if key != name
    )


@pytest.mark.parametrize("value", CANARIES)
@pytest.mark.parametrize("name", SECRETS)
def test_no_report_repeats_what_a_file_holds(name, value, tmp_path):
    path = tmp_path / "value"
    path.write_bytes(value.encode("utf-8", "surrogateescape"))
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(f"{name}='{value}\nAPP_ENV=staging\nnonsense {value}".encode("utf-8", "surrogateescape"))
    for variables, env_file in (({f"{name}_FILE": str(path), "APP_ENV": "staging"}, None), ({}, dotenv)):
        with pytest.raises(ConfigurationError) as caught:
            load_settings(variables, env_file)
        assert CANARY not in shown(caught.value)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=80).map(lambda text: CANARY + text)))
def test_whatever_is_configured_either_works_or_is_refused_without_being_repeated(variables):
    report = ""
    try:
        load_settings(variables, None)
    except ConfigurationError as error:
        report = shown(error)
    assert CANARY not in report


def test_settings_show_no_secret():
    secret = {name: secrets.token_urlsafe(40) for name in ("JWT_SECRET_KEY", "JWT_SECRET_KEY_FALLBACKS")}
    secret |= {name: fernet_key() for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEY_FALLBACKS")}
    urls = {
        "DATABASE_URL": f"postgresql://u:{CANARY}@h/n",
        "ROTATION_DATABASE_URL": f"postgresql://u:{CANARY}@h/n",
        "REDIS_URL": f"redis://:{CANARY}@h",
        "RESEND_API_KEY": CANARY,
    }
    settings = load_settings(secret | urls | MAIL, None)
    for text in (repr(settings), str(settings), f"{settings}", repr([settings]), repr(settings.keyring)):
        assert not any(value in text for value in (*secret.values(), CANARY))
        assert not any(MasterKey.parse(secret[name])._secret.hex() in text for name in secret if name.startswith("ENC"))
        assert settings.keyring.primary.id in text
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(settings)


# One table drives the rest


def test_every_variable_is_in_the_example_with_its_meaning_and_its_default():
    example = (PROJECT / ".env.example").read_text()
    for variable in VARIABLES:
        line = f"{variable.name}={variable.default or ''}"
        assert f"\n# {variable.meaning}\n{'' if variable.required else '# '}{line}\n" in example, variable.name
    assert example.count("=") == len(VARIABLES) + 1  # and NAME_FILE=


def test_the_example_holds_no_usable_key():
    problems = refused({}, PROJECT / ".env.example")
    assert sum("is not set" in problem for problem in problems) == len(problems) == 2


def test_every_variable_is_documented_with_its_meaning_and_its_default():
    page = (PROJECT / "docs" / "configuration.md").read_text()
    rows = {row.split("|")[1].strip(): row for row in page.splitlines() if row.startswith("| `")}
    for variable in VARIABLES:
        row = rows[f"`{variable.name}`"]
        assert variable.meaning in row
        assert f"`{variable.default}`" in row if variable.default else "`" in row
        assert ("`NAME_FILE`" in row) == variable.secret
