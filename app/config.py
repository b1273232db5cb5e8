"""Every variable that AudiaPro is configured with: read, judged and typed in this one place.

:func:`load_settings` returns :class:`Settings`, or raises :class:`ConfigurationError` with everything that is wrong at
once. No message repeats a value: a report may go into a log, whatever was put into which variable by mistake.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, Literal

import click
from dotenv import find_dotenv
from limits import RateLimitItem

from app.encryption.keyring import Keyring
from app.key_checks import check_keys, keys_of, token_of
from app.limits.limit import DEFAULT_BUDGET, Limit, check_rates, default_rates, rates_of
from app.mail_checks import check_mail
from app.origins import check_origins, split_origins
from app.outbound.addresses import Network, check_networks, networks_of
from app.proxies import FORWARDED_FOR, check_proxies
from app.secret_sources import PATIENCE, Patience
from app.url_checks import check_urls, database_url, redis_url
from app.variables import Findings, Variable, read

PROJECT: Final = Path(__file__).resolve().parent.parent
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h: nothing will get better by starting again
EXIT_UNAVAILABLE: Final = 1  # something that is needed does not answer: starting again may help


VARIABLES: Final = (
    Variable("APP_ENV", "Kind of installation: production or development.", "production"),
    Variable("JWT_SECRET_KEY", "Signs and verifies tokens; at least 32 characters.", secret=True, required=True),
    Variable("JWT_SECRET_KEY_FALLBACKS", "Former JWT secrets, comma-separated: they only verify.", secret=True),
    Variable("ENCRYPTION_KEY", "Master key that seals and opens secrets (a Fernet key).", secret=True, required=True),
    Variable("ENCRYPTION_KEY_FALLBACKS", "Further master keys, comma-separated: they only open.", secret=True),
    Variable("DATABASE_URL", "PostgreSQL or SQLite database.", "sqlite:///instance/audiapro.db", secret=True),
    Variable("ROTATION_DATABASE_URL", "The database without the pooler, for key rotation.", secret=True),
    Variable("REDIS_URL", "Redis for what several machines share, such as rate limits.", secret=True),
    Variable("REDIS_CERTIFICATE", "Whether the certificate of Redis is checked: checked or unchecked.", "checked"),
    Variable("PORT", "TCP port to listen on.", "5000"),
    Variable("WEB_CONCURRENCY", "Worker processes, of 4 threads each.", "2"),
    Variable("TRUSTED_PROXY_HOPS", "How many proxies in front say who the client is.", "0"),
    Variable("CLIENT_ADDRESS_HEADER", "The header in which they say it.", FORWARDED_FOR),
    Variable("JWT_ACCESS_TOKEN_EXPIRES", "Lifetime of an access token in seconds.", "900"),
    Variable("JWT_REFRESH_TOKEN_EXPIRES", "Lifetime of a refresh token, and so of a sign-in, in seconds.", "86400"),
    Variable("SESSION_IDLE_EXPIRES", "Seconds after which an unused sign-in ends.", "86400"),
    Variable("SIGNUP", "Whether anybody can sign up for a tenant: open or closed.", "open"),
    Variable("KEY_MAX_AGE_DAYS", "Days after which `flask doctor` asks for new keys.", "180"),
    Variable("METRICS_TOKEN", "Opens /metrics to Prometheus; at least 32 characters.", secret=True),
    Variable("AUDIT_RETENTION_DAYS", "Days after which sealed audit events are removed.", "365"),
    Variable("RESEND_API_KEY", "Key of the mail provider, Resend. Without it no mail is sent.", secret=True),
    Variable("RESEND_FROM_EMAIL", "Who mail is from: an address of a domain that is verified at Resend."),
    Variable("PUBLIC_URL", "Where users reach this installation: what links in mails begin with."),
    Variable("CORS_ORIGINS", "Web origins, comma-separated, whose pages may use the API."),
    Variable("OUTBOUND_ALLOWED_NETWORKS", "Non-public networks, comma-separated, where tenants' PBXs may be."),
    *(Variable(limit.variable, limit.meaning, limit.default) for limit in Limit),
    Variable("RATELIMIT_TENANT_BUDGET", "Units that a tenant's requests may cost in a minute.", str(DEFAULT_BUDGET)),
    Variable("FLASK_DEBUG", "Flask's debug mode: 0 or 1. Only in development.", "0"),
)  # fmt: skip

Environment = Literal["production", "development"]


class ConfigurationError(click.ClickException):
    """The configuration cannot be used. ``problems`` are sentences that say what to do; none contains a value.

    A ``flask`` command that it reaches ends with the report and ``exit_code``, instead of a traceback.
    """

    exit_code = EXIT_CONFIG

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(str(self))

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"AudiaPro cannot start: {count} in the configuration.", *(f"  - {line}" for line in self.problems)]
        return "\n".join([*lines, "Every variable is described in docs/configuration.md."])

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(str(self), file=file or sys.stderr)


class SecretsUnavailable(ConfigurationError):
    """Nothing is wrong but that stores of secrets do not answer, which may pass."""

    exit_code = EXIT_UNAVAILABLE


@dataclass(frozen=True, repr=False)
class Settings:
    """The configuration after every check. Database URLs are SQLAlchemy's; ``warnings`` are for the operator.

    origins: by name of a secret variable the kinds of places that it came from, in words.
    """

    environment: Environment
    keyring: Keyring
    jwt_secret_key: str
    jwt_secret_key_fallbacks: tuple[str, ...]
    database_url: str
    rotation_database_url: str | None
    redis_url: str | None
    port: int
    access_token_expires: timedelta
    refresh_token_expires: timedelta
    session_idle_expires: timedelta
    web_concurrency: int = 2
    trusted_proxy_hops: int = 0
    client_address_header: str = FORWARDED_FOR
    sign_up_open: bool = True
    key_max_age: timedelta = timedelta(days=180)
    metrics_token: str | None = None
    audit_retention: timedelta = timedelta(days=365)
    resend_api_key: str | None = None
    mail_from: str | None = None
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ()
    outbound_networks: tuple[Network, ...] = ()
    rates: Mapping[Limit, RateLimitItem] = field(default_factory=default_rates)
    tenant_budget: int = DEFAULT_BUDGET
    origins: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Settings {self.environment} {self.keyring!r} port={self.port}>"


def load_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = PROJECT / ".env", patience: Patience = PATIENCE
) -> Settings:
    """Read and check the configuration.

    environ: the variables, by default those of the process. They win over the file.
    env_file: a file in the format of python-dotenv, read if it exists; None reads none.
    patience: with the stores of secrets that references lead to.

    Raises :class:`ConfigurationError` with all problems together, or :class:`SecretsUnavailable` if all may pass.
    """
    found = Findings([], [], [])
    if (environ is None or environ is os.environ) and os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        _check_env_file_of_flask(env_file, found)
    values, origins = read(VARIABLES, os.environ if environ is None else environ, env_file, patience, found)
    environment = _environment(values, found)
    jwt_keys, encryption_keys = keys_of("JWT_SECRET_KEY", values), keys_of("ENCRYPTION_KEY", values)
    master_keys, problems = check_keys(jwt_keys, encryption_keys, token_of("METRICS_TOKEN", values))
    found.problems.extend(problems)
    found.problems.extend(check_urls(values))
    port = _number("PORT", values, 65_535, found)
    web_concurrency = _number("WEB_CONCURRENCY", values, 64, found)
    trusted_proxy_hops = _number("TRUSTED_PROXY_HOPS", values, 10, found, least=0)
    found.problems.extend(check_proxies(values))
    access_token_expires = _number("JWT_ACCESS_TOKEN_EXPIRES", values, 999_999_999, found)
    refresh_token_expires = _number("JWT_REFRESH_TOKEN_EXPIRES", values, 999_999_999, found)
    session_idle_expires = _number("SESSION_IDLE_EXPIRES", values, 999_999_999, found)
    if values["SIGNUP"] not in ("open", "closed"):
        found.problems.append("SIGNUP must be open or closed.")
    key_max_age_days = _number("KEY_MAX_AGE_DAYS", values, 36_500, found)
    audit_retention_days = _number("AUDIT_RETENTION_DAYS", values, 36_500, found)
    found.problems.extend(check_mail(values))
    found.problems.extend(check_origins(values))
    found.problems.extend(check_networks(values))
    found.problems.extend(check_rates(values))
    tenant_budget = _number("RATELIMIT_TENANT_BUDGET", values, 999_999_999, found)
    if found.problems:
        raise ConfigurationError((*found.problems, *found.outages))
    if found.outages:
        raise SecretsUnavailable(tuple(found.outages))
    tls = environment == "production"
    return Settings(
        environment=environment,
        keyring=Keyring(master_keys[0], master_keys[1:]),
        jwt_secret_key=jwt_keys[0].text,
        jwt_secret_key_fallbacks=tuple(key.text for key in jwt_keys[1:]),
        database_url=database_url(values["DATABASE_URL"], PROJECT, tls),
        rotation_database_url=database_url(values["ROTATION_DATABASE_URL"], PROJECT, tls) or None,
        redis_url=redis_url(values["REDIS_URL"], values["REDIS_CERTIFICATE"] == "checked") or None,
        port=port,
        access_token_expires=timedelta(seconds=access_token_expires),
        refresh_token_expires=timedelta(seconds=refresh_token_expires),
        session_idle_expires=timedelta(seconds=session_idle_expires),
        web_concurrency=web_concurrency,
        trusted_proxy_hops=trusted_proxy_hops,
        client_address_header=values["CLIENT_ADDRESS_HEADER"],
        sign_up_open=values["SIGNUP"] == "open",
        key_max_age=timedelta(days=key_max_age_days),
        metrics_token=values["METRICS_TOKEN"] or None,
        audit_retention=timedelta(days=audit_retention_days),
        resend_api_key=values["RESEND_API_KEY"] or None,
        mail_from=values["RESEND_FROM_EMAIL"] or None,
        public_url=values["PUBLIC_URL"].rstrip("/") or None,
        cors_origins=split_origins(values["CORS_ORIGINS"]),
        outbound_networks=networks_of(values["OUTBOUND_ALLOWED_NETWORKS"]),
        rates=rates_of(values),
        tenant_budget=tenant_budget,
        origins=origins,
        warnings=tuple(found.warnings),
    )


def _check_env_file_of_flask(env_file: Path | None, found: Findings) -> None:
    """The `flask` command has read the next `.env` upwards from the working directory: it must be ours."""
    read = find_dotenv(usecwd=True)
    if read and (env_file is None or Path(read).resolve() != env_file.resolve()):
        found.problems.append(
            f"The flask command has read {read}, which is not this installation's. Run it in the folder {PROJECT}."
        )


def _environment(values: Mapping[str, str], found: Findings) -> Environment:
    if values["APP_ENV"] == "development":
        return "development"
    if values["APP_ENV"] != "production":
        found.problems.append("APP_ENV must be production or development.")
    if values["FLASK_DEBUG"].lower() not in ("0", "false", "no"):  # as Flask reads it
        found.problems.append(
            "FLASK_DEBUG is on in production, where it lets visitors run code. Unset it, or set APP_ENV=development."
        )
    return "production"


def _number(name: str, values: Mapping[str, str], most: int, found: Findings, least: int = 1) -> int:
    if re.fullmatch(r"[0-9]{1,9}", values[name]) and least <= int(values[name]) <= most:
        return int(values[name])
    found.problems.append(f"{name} must be a whole number from {least} to {most}.")
    return least
