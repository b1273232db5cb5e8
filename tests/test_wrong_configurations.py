"""Wrong configurations: each gets a sentence of its own, all of them in one report, and exit status 78."""

import hashlib
import os
import sys

import pytest

from app.config import EXIT_CONFIG, VARIABLES, ConfigurationError, load_settings
from app.limits.limit import Limit
from app.startup import load_settings_or_exit

# A configuration that is accepted, so that all that is refused is what a row adds to it.
FIT = {
    "JWT_SECRET_KEY": "Q9v2LkX0tRz7YbN4mWc8HsJd3FgPu6Ea1ViTo5KxZqBy",
    "ENCRYPTION_KEY": "Zb1q7GmXc0n4sWv2Lr9tYh3kPd8fJe6uAoQiBxNyC5E=",
    "RESEND_API_KEY": "re_5h2Kd9Qw",
    "RESEND_FROM_EMAIL": "no-reply@mail.acme.example",
    "PUBLIC_URL": "https://app.acme.example",
}
OTHER = "pT4vKx8mQz2nRw6yLb0cHd3fJg7sUa1eViOoNtXhB5M="
ANOTHER = "gD3sVq7Hn1Wk9Xb5Rt2Ym8Lc4Zf6Pj0Ae-TuGiOoKxQ="
SAME_ID = {"ENCRYPTION_KEY": 20634, "ENCRYPTION_KEY_FALLBACKS": 75768}
VARIABLE_NAMES = [variable.name for variable in VARIABLES]
SECRETS = {variable.name for variable in VARIABLES if variable.secret}
MAKE_JWT = "Make a new one: python generate_keys.py --only jwt"
MAKE_ENCRYPTION = "Make a new one: python generate_keys.py --only encryption"
CORRECT = "Correct it or take it out of the list."
WORD = "is weak: it contains a word such as secret, password or example."
PIECE = "is weak: it has fewer than 10 different characters, or is one piece repeated."
FORM = "must be a Fernet key (44 characters of URL-safe base64) or 64 hex digits."
DATABASE = (
    "is not the URL of a PostgreSQL or SQLite database. Write postgresql://user:password@host/name, with special "
    "characters of the password percent-encoded, or sqlite:////folder/file.db."
)
REDIS = (
    "REDIS_URL is not a Redis URL. Write redis://:password@host:6379/0, rediss://… (TLS) or unix:///path/to/socket, "
    "and no options that Redis's client does not know."
)
SENDER = "RESEND_FROM_EMAIL must be an address, or a name and an address: AudiaPro <no-reply@mail.your-domain>."
PUBLIC = (
    "PUBLIC_URL must be an absolute URL without user, query or fragment, in production with https: "
    "https://app.your-domain."
)
ORIGINS = (
    "CORS_ORIGINS must be origins as browsers send them, such as https://app.your-domain: in lower case, without a "
    "path, a slash at the end or the usual port; neither * nor null; in production https, but for loopback."
)
NETWORKS = (
    "OUTBOUND_ALLOWED_NETWORKS must be networks, such as 10.20.0.0/16, or addresses, comma-separated, with no bits set "
    "after the prefix."
)
NEVER = (
    "OUTBOUND_ALLOWED_NETWORKS has a network that requests are never sent to: link-local, multicast, where clouds hand "
    "out credentials, or IPv4 within IPv6. Take it out."
)
CANNOT_BE_READ = "Correct the path, or the file and its permissions."
NO_SECRET = (
    "is no secret, but looks like the address of one. A reference begins with aws-secretsmanager://, aws-kms://, "
    "vault://."
)
VAULT = "is not a reference as it must be written: vault://MOUNT/PATH#FIELD."
RATE = "must be a number per second, minute, hour or day, such as"
LIFETIME = "must be a whole number from 1 to 999999999."

# What is changed, and the sentence that it gets. Paths are filled in.
WRONG: list[tuple[dict[str, str], str]] = [
    # the environment
    ({"APP_ENV": "prod"}, "APP_ENV must be production or development."),
    (
        {"FLASK_DEBUG": "1"},
        "FLASK_DEBUG is on in production, where it lets visitors run code. Unset it, or set APP_ENV=development.",
    ),
    # the JWT secret
    ({"JWT_SECRET_KEY": ""}, f"JWT_SECRET_KEY is not set. {MAKE_JWT}"),
    ({"JWT_SECRET_KEY": "rNb5Xw2Kq8"}, f"JWT_SECRET_KEY is shorter than 32 characters. {MAKE_JWT}"),
    ({"JWT_SECRET_KEY": "my-Super-SECRET-key-that-nobody-knows"}, f"JWT_SECRET_KEY {WORD} {MAKE_JWT}"),
    ({"JWT_SECRET_KEY": "please-CHANGEME-before-you-deploy-it"}, f"JWT_SECRET_KEY {WORD} {MAKE_JWT}"),
    ({"JWT_SECRET_KEY": "abcabcabc" * 6}, f"JWT_SECRET_KEY {PIECE} {MAKE_JWT}"),
    (
        {"JWT_SECRET_KEY": "c292a0a3aa32397c" + "db050e233733900f"},
        f"JWT_SECRET_KEY has been published, so anybody can know it. {MAKE_JWT}",
    ),
    (
        {"JWT_SECRET_KEY": "Q9v2LkX0tRz7YbN4mWc8,HsJd3FgPu6Ea1ViTo5"},
        f"JWT_SECRET_KEY contains a comma, which separates keys in a list of fallbacks. {MAKE_JWT}",
    ),
    (
        {"JWT_SECRET_KEY": "Q9v2LkX0tRz7YbN4mWc8\x07HsJd3FgPu6Ea1ViTo5"},
        f"JWT_SECRET_KEY contains something that is not text. {MAKE_JWT}",
    ),
    (
        {"JWT_SECRET_KEY": FIT["ENCRYPTION_KEY"]},
        "ENCRYPTION_KEY is the same key as JWT_SECRET_KEY. Every key has one place and one purpose.",
    ),
    (
        {"JWT_SECRET_KEY_FALLBACKS": f"{ANOTHER},rNb5Xw2Kq8"},
        f"key 2 of JWT_SECRET_KEY_FALLBACKS is shorter than 32 characters. {CORRECT}",
    ),
    (
        {"JWT_SECRET_KEY_FALLBACKS": f"{ANOTHER},{FIT['JWT_SECRET_KEY']}"},
        "key 2 of JWT_SECRET_KEY_FALLBACKS is the same key as JWT_SECRET_KEY. Every key has one place and one purpose.",
    ),
    # the encryption key
    ({"ENCRYPTION_KEY": ""}, f"ENCRYPTION_KEY is not set. {MAKE_ENCRYPTION}"),
    ({"ENCRYPTION_KEY": "correct horse battery staple 0123"}, f"ENCRYPTION_KEY {FORM} {MAKE_ENCRYPTION}"),
    ({"ENCRYPTION_KEY": FIT["ENCRYPTION_KEY"][:-3]}, f"ENCRYPTION_KEY {FORM} {MAKE_ENCRYPTION}"),
    ({"ENCRYPTION_KEY": "00112233445566778899aabbccddeeff" * 2}, f"ENCRYPTION_KEY {PIECE} {MAKE_ENCRYPTION}"),
    (
        {"ENCRYPTION_KEY": b"my secret of 32 characters, yes!".hex()},
        f"ENCRYPTION_KEY {WORD} {MAKE_ENCRYPTION}",
    ),
    (
        {"ENCRYPTION_KEY": "sW7IDYTFIB0tqy5NUMb" + "HG5q7AYokVAoEtAP1tZuQDMI="},
        f"ENCRYPTION_KEY has been published, so anybody can know it. {MAKE_ENCRYPTION}",
    ),
    (
        {"ENCRYPTION_KEY_FALLBACKS": f"{OTHER},nonsense of some length"},
        f"key 2 of ENCRYPTION_KEY_FALLBACKS {FORM} {CORRECT}",
    ),
    (
        {"ENCRYPTION_KEY_FALLBACKS": FIT["ENCRYPTION_KEY"]},
        "key 1 of ENCRYPTION_KEY_FALLBACKS is the same key as ENCRYPTION_KEY. Every key has one place and one purpose.",
    ),
    (
        {"ENCRYPTION_KEY_FALLBACKS": f"{OTHER},{OTHER}"},
        "key 2 of ENCRYPTION_KEY_FALLBACKS is the same key as key 1 of ENCRYPTION_KEY_FALLBACKS. "
        "Every key has one place and one purpose.",
    ),
    (
        # their ids are the same: found by trying some 70,000 keys
        {name: hashlib.sha256(str(number).encode()).hexdigest() for name, number in SAME_ID.items()},
        f"key 1 of ENCRYPTION_KEY_FALLBACKS has by chance the same id as ENCRYPTION_KEY. {MAKE_ENCRYPTION}",
    ),
    # files
    (
        {"ENCRYPTION_KEY_FILE": "/nowhere/key"},
        "ENCRYPTION_KEY and ENCRYPTION_KEY_FILE are both set. Keep one of them.",
    ),
    (
        {"ENCRYPTION_KEY": "", "ENCRYPTION_KEY_FILE": "/nowhere/key"},
        f"ENCRYPTION_KEY_FILE: /nowhere/key cannot be read (No such file or directory). {CANNOT_BE_READ}",
    ),
    (
        {"REDIS_URL_FILE": "/"},
        f"REDIS_URL_FILE: / cannot be read (Is a directory). {CANNOT_BE_READ}",
    ),
    (
        {"DATABASE_URL_FILE": sys.executable},
        f"DATABASE_URL_FILE: {sys.executable} cannot be read (not UTF-8 text). {CANNOT_BE_READ}",
    ),
    (
        {"JWT_SECRET_KEY": "", "JWT_SECRET_KEY_FILE": FIT["JWT_SECRET_KEY"]},
        "JWT_SECRET_KEY_FILE: what it names (not repeated, it may be the secret itself) cannot be read "
        f"(No such file or directory). {CANNOT_BE_READ}",
    ),
    # references
    ({"JWT_SECRET_KEY": "arn:aws:ssm:eu-central-1:123456789012:parameter/key"}, f"JWT_SECRET_KEY {NO_SECRET}"),
    ({"JWT_SECRET_KEY": '"vault://kv/audiapro/production#jwt"'}, f"JWT_SECRET_KEY {NO_SECRET}"),
    ({"RESEND_API_KEY": "https://resend.com/api-keys"}, f"RESEND_API_KEY {NO_SECRET}"),
    ({"ENCRYPTION_KEY": "vault://kv/audiapro"}, f"ENCRYPTION_KEY {VAULT}"),
    ({"ENCRYPTION_KEY": "vault://kv/audiapro/../other#key"}, f"ENCRYPTION_KEY {VAULT}"),
    ({"DATABASE_URL": "vault://#database_url"}, f"DATABASE_URL {VAULT}"),
    ({"ENCRYPTION_KEY_FALLBACKS": f"{OTHER},vault://kv#old"}, f"key 2 of ENCRYPTION_KEY_FALLBACKS {VAULT}"),
    (
        {"ENCRYPTION_KEY": "aws-kms://alias/audiapro"},
        "ENCRYPTION_KEY is not a reference as it must be written: aws-kms://CIPHERTEXT?region=REGION "
        "(ciphertext in base64, region only where needed).",
    ),
    (
        {"REDIS_URL": "aws-secretsmanager://audiapro#redis_url?region=eu-central-1"},
        "REDIS_URL is not a reference as it must be written: aws-secretsmanager://NAME?region=REGION#FIELD "
        "(region and field only where needed).",
    ),
    (
        {"ENCRYPTION_KEY": "vault://kv/audiapro#key"},
        "ENCRYPTION_KEY: vault://kv/audiapro#key cannot be read: VAULT_ADDR is not set. It says where Vault is, such "
        "as https://vault.your-domain:8200.",
    ),
    (
        {"ENCRYPTION_KEY": "vault://kv/audiapro#key", "VAULT_ADDR": "http://vault.acme.example:8200"},
        "ENCRYPTION_KEY: vault://kv/audiapro#key cannot be read: VAULT_ADDR must be a URL without user, query or "
        "fragment, with https, but for this machine.",
    ),
    (
        {"ENCRYPTION_KEY": "vault://kv/audiapro#key", "VAULT_ADDR": "https://vault.acme.example:8200"},
        "ENCRYPTION_KEY: vault://kv/audiapro#key cannot be read: VAULT_TOKEN is not set, and VAULT_TOKEN_FILE names no "
        "file with one.",
    ),
    (
        {"ENCRYPTION_KEY": "aws-secretsmanager://audiapro"},
        "ENCRYPTION_KEY: aws-secretsmanager://audiapro cannot be read: no region is known: append ?region=…, or set "
        "AWS_REGION.",
    ),
    # addresses
    ({"DATABASE_URL": "mysql://user:pw@db/audiapro"}, f"DATABASE_URL {DATABASE}"),
    ({"DATABASE_URL": "postgresql://user:p@ss@db/audiapro"}, f"DATABASE_URL {DATABASE}"),
    ({"DATABASE_URL": "sqlite:///:memory:"}, f"DATABASE_URL {DATABASE}"),
    ({"ROTATION_DATABASE_URL": "postgresql://user:pw@db:port/audiapro"}, f"ROTATION_DATABASE_URL {DATABASE}"),
    ({"REDIS_URL": "cache:6379"}, REDIS),
    ({"REDIS_URL": "http://cache:6379"}, REDIS),
    ({"PUBLIC_URL": "http://app.acme.example"}, PUBLIC),
    ({"PUBLIC_URL": "https://user:pw@app.acme.example"}, PUBLIC),
    ({"PUBLIC_URL": "app.acme.example"}, PUBLIC),
    ({"CORS_ORIGINS": "*"}, ORIGINS),
    ({"CORS_ORIGINS": "https://app.acme.example/"}, ORIGINS),
    ({"CORS_ORIGINS": "http://app.acme.example"}, ORIGINS),
    ({"OUTBOUND_ALLOWED_NETWORKS": "pbx.acme.example"}, NETWORKS),
    ({"OUTBOUND_ALLOWED_NETWORKS": "10.20.1.2/16"}, NETWORKS),
    ({"OUTBOUND_ALLOWED_NETWORKS": "10.0.0.0/8, 127.1"}, NETWORKS),
    ({"OUTBOUND_ALLOWED_NETWORKS": "*"}, NETWORKS),
    ({"OUTBOUND_ALLOWED_NETWORKS": "10.0.0.0/8,169.254.169.254"}, NEVER),
    ({"OUTBOUND_ALLOWED_NETWORKS": "::ffff:10.0.0.0/104"}, NEVER),
    # numbers
    ({"PORT": "0"}, "PORT must be a whole number from 1 to 65535."),
    ({"PORT": "http"}, "PORT must be a whole number from 1 to 65535."),
    ({"WEB_CONCURRENCY": "auto"}, "WEB_CONCURRENCY must be a whole number from 1 to 64."),
    ({"TRUSTED_PROXY_HOPS": "true"}, "TRUSTED_PROXY_HOPS must be a whole number from 0 to 10."),
    ({"JWT_ACCESS_TOKEN_EXPIRES": "15m"}, f"JWT_ACCESS_TOKEN_EXPIRES {LIFETIME}"),
    ({"JWT_REFRESH_TOKEN_EXPIRES": "0"}, f"JWT_REFRESH_TOKEN_EXPIRES {LIFETIME}"),
    ({"SESSION_IDLE_EXPIRES": "-1"}, f"SESSION_IDLE_EXPIRES {LIFETIME}"),
    ({"AUDIT_RETENTION_DAYS": "for ever"}, "AUDIT_RETENTION_DAYS must be a whole number from 1 to 36500."),
    ({"KEY_MAX_AGE_DAYS": "0"}, "KEY_MAX_AGE_DAYS must be a whole number from 1 to 36500."),
    ({"RATELIMIT_TENANT_BUDGET": "1e6"}, "RATELIMIT_TENANT_BUDGET must be a whole number from 1 to 999999999."),
    ({"SIGNUP": "ajar"}, "SIGNUP must be open or closed."),
    (
        {"METRICS_TOKEN": "tVd7Qk2Zs9"},
        "METRICS_TOKEN is shorter than 32 characters. Make a new one: python generate_keys.py --only metrics",
    ),
    ({"REDIS_URL": "redis://:x@h?db=abc"}, REDIS),
    ({"REDIS_URL": "redis://:x@h/abc"}, REDIS),
    ({"REDIS_URL": "redis://:x@h?foo=bar"}, REDIS),
    ({"REDIS_URL": "REDIS://:x@h/0"}, REDIS),
    ({"DATABASE_URL": "postgresql://u:p@h/n?sslmode=requre"}, f"DATABASE_URL {DATABASE}"),
    ({"DATABASE_URL": "postgresql://u:p@h/n?foo=bar"}, f"DATABASE_URL {DATABASE}"),
    ({"REDIS_CERTIFICATE": "no"}, "REDIS_CERTIFICATE must be checked or unchecked."),
    # proxies
    ({"CLIENT_ADDRESS_HEADER": "x: y"}, "CLIENT_ADDRESS_HEADER must be the name of a header, such as X-Forwarded-For."),
    (
        {"CLIENT_ADDRESS_HEADER": "DO-Connecting-IP", "TRUSTED_PROXY_HOPS": "0"},
        "CLIENT_ADDRESS_HEADER is believed of a proxy alone: set TRUSTED_PROXY_HOPS, too.",
    ),
    (
        {"CLIENT_ADDRESS_HEADER": "DO-Connecting-IP", "TRUSTED_PROXY_HOPS": "2"},
        "CLIENT_ADDRESS_HEADER holds one address, whatever is in front: set TRUSTED_PROXY_HOPS to 1.",
    ),
    # mail
    (
        {"RESEND_API_KEY": "re 5h2Kd9Qw"},
        "RESEND_API_KEY has blanks, line breaks or other characters that no API key has. Copy it again.",
    ),
    ({"RESEND_FROM_EMAIL": "AudiaPro"}, SENDER),
    ({"RESEND_FROM_EMAIL": "one@acme.example, other@acme.example"}, SENDER),
    (
        {"RESEND_FROM_EMAIL": ""},
        "RESEND_FROM_EMAIL must be set where RESEND_API_KEY is: no mail can be written without it.",
    ),
    ({"PUBLIC_URL": ""}, "PUBLIC_URL must be set where RESEND_API_KEY is: no mail can be written without it."),
    # limits
    *(({limit.variable: "often"}, f"{limit.variable} {RATE} {limit.default}.") for limit in Limit),
]
ROWS = [pytest.param(*row, id=" ".join(row[0])) for row in WRONG]


def refused(variables: dict[str, str]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables, None)
    return caught.value


def rounds() -> list[list[tuple[dict[str, str], str]]]:
    """The table, dealt out so that the rows of each round change variables of their own."""
    dealt: list[list[tuple[dict[str, str], str]]] = []
    for row in WRONG:
        for round_ in dealt:
            if not any(subject(row) & subject(other) for other in round_):
                round_.append(row)
                break
        else:
            dealt.append([row])
    return dealt


def subject(row: tuple[dict[str, str], str]) -> set[str]:
    """The variables that a row is about, also as what another one is compared with."""
    changes, sentence = row
    return {name for name in VARIABLE_NAMES if name in sentence or name in changes}


def test_the_table_is_long_enough_and_fit_is_fit():
    assert len(WRONG) >= 50
    assert len({str(changes) for changes, _ in WRONG}) == len(WRONG)
    load_settings(FIT, None)


@pytest.mark.parametrize(("changes", "sentence"), ROWS)
def test_each_wrong_configuration_gets_its_own_sentence(changes, sentence):
    error = refused(FIT | changes)
    assert error.problems == (sentence,)
    assert error.exit_code == EXIT_CONFIG
    secrets = {value for name, value in (FIT | changes).items() if name in SECRETS and value not in sentence}
    assert not any(value in str(error) for value in secrets if len(value) > 8)


@pytest.mark.parametrize("rows", rounds(), ids=len)
def test_all_that_is_wrong_is_told_at_once(rows):
    changes = {name: value for row, _ in rows for name, value in row.items()}
    error = refused(FIT | changes)
    assert sorted(error.problems) == sorted(sentence for _, sentence in rows)
    assert error.exit_code == EXIT_CONFIG


def test_a_process_ends_with_78_and_the_whole_report(monkeypatch, capsys):
    rows = max(rounds(), key=len)
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    for name, value in (FIT | {name: value for row, _ in rows for name, value in row.items()}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load_settings_or_exit()
    report = capsys.readouterr().err
    assert ended.value.code == EXIT_CONFIG
    assert f"{len(rows)} problems in the configuration" in report
    assert all(f"  - {sentence}\n" in report for _, sentence in rows)
