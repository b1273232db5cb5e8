"""Every variable that AudiaPro is configured with: read, judged and typed in this one place.

:func:`load_settings` returns :class:`Settings`, or raises :class:`ConfigurationError` with everything that is wrong at
once. No message repeats a value: a report may go into a log, whatever was put into which variable by mistake.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import click
from dotenv import dotenv_values, find_dotenv
from limits import RateLimitItem

from app.encryption.keyring import Keyring
from app.key_checks import check_keys, keys_of, remedy, token_of
from app.limits.limit import DEFAULT_BUDGET, Limit, check_rates, default_rates, rates_of
from app.mail_checks import check_mail
from app.origins import check_origins, split_origins
from app.url_checks import check_urls, database_url

PROJECT: Final = Path(__file__).resolve().parent.parent
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h: nothing will get better by starting again


class Variable(NamedTuple):
    """One variable: its name, what it means in a sentence, and the default as one would write it down."""

    name: str
    meaning: str
    default: str | None = None
    secret: bool = False
    required: bool = False

    @property
    def file_name(self) -> str:
        """The variable that may name a file with the value instead. Only secrets have it."""
        return f"{self.name}_FILE"


VARIABLES: Final = (
    Variable("APP_ENV", "Kind of installation: production or development.", "production"),
    Variable("JWT_SECRET_KEY", "Signs and verifies tokens; at least 32 characters.", secret=True, required=True),
    Variable("JWT_SECRET_KEY_FALLBACKS", "Former JWT secrets, comma-separated: they only verify.", secret=True),
    Variable("ENCRYPTION_KEY", "Master key that seals and opens secrets (a Fernet key).", secret=True, required=True),
    Variable("ENCRYPTION_KEY_FALLBACKS", "Further master keys, comma-separated: they only open.", secret=True),
    Variable("DATABASE_URL", "PostgreSQL or SQLite database.", "sqlite:///instance/audiapro.db", secret=True),
    Variable("ROTATION_DATABASE_URL", "The database without the pooler, for key rotation.", secret=True),
    Variable("REDIS_URL", "Redis for what several machines share, such as rate limits.", secret=True),
    Variable("PORT", "TCP port to listen on.", "5000"),
    Variable("WEB_CONCURRENCY", "Worker processes, of 4 threads each.", "2"),
    Variable("TRUSTED_PROXY_HOPS", "How many proxies in front say who the client is.", "0"),
    Variable("JWT_ACCESS_TOKEN_EXPIRES", "Lifetime of an access token in seconds.", "900"),
    Variable("JWT_REFRESH_TOKEN_EXPIRES", "Lifetime of a refresh token, and so of a sign-in, in seconds.", "86400"),
    Variable("SESSION_IDLE_EXPIRES", "Seconds after which an unused sign-in ends.", "86400"),
    Variable("SIGNUP", "Whether anybody can sign up for a tenant: open or closed.", "open"),
    Variable("METRICS_TOKEN", "Opens /metrics to Prometheus; at least 32 characters.", secret=True),
    Variable("AUDIT_RETENTION_DAYS", "Days after which sealed audit events are removed.", "365"),
    Variable("RESEND_API_KEY", "Key of the mail provider, Resend. Without it no mail is sent.", secret=True),
    Variable("RESEND_FROM_EMAIL", "Who mail is from: an address of a domain that is verified at Resend."),
    Variable("PUBLIC_URL", "Where users reach this installation: what links in mails begin with."),
    Variable("CORS_ORIGINS", "Web origins, comma-separated, whose pages may use the API."),
    *(Variable(limit.variable, limit.meaning, limit.default) for limit in Limit),
    Variable("RATELIMIT_TENANT_BUDGET", "Units that a tenant's requests may cost in a minute.", str(DEFAULT_BUDGET)),
    Variable("FLASK_DEBUG", "Flask's debug mode: 0 or 1. Only in development.", "0"),
)  # fmt: skip

Environment = Literal["production", "development"]


class ConfigurationError(click.ClickException):
    """The configuration cannot be used. ``problems`` are sentences that say what to do; none contains a value.

    A ``flask`` command that it reaches ends with the report and status 78, instead of a traceback.
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


@dataclass(frozen=True, repr=False)
class Settings:
    """The configuration after every check. Database URLs are SQLAlchemy's; ``warnings`` are for the operator."""

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
    sign_up_open: bool = True
    metrics_token: str | None = None
    audit_retention: timedelta = timedelta(days=365)
    resend_api_key: str | None = None
    mail_from: str | None = None
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ()
    rates: Mapping[Limit, RateLimitItem] = field(default_factory=default_rates)
    tenant_budget: int = DEFAULT_BUDGET
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Settings {self.environment} {self.keyring!r} port={self.port}>"


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = PROJECT / ".env") -> Settings:
    """Read and check the configuration.

    environ: the variables, by default those of the process. They win over the file.
    env_file: a file in the format of python-dotenv, read if it exists; None reads none.

    Raises :class:`ConfigurationError` with all problems together.
    """
    found = _Findings([], [])
    if (environ is None or environ is os.environ) and os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        _check_env_file_of_flask(env_file, found)
    values = _read(os.environ if environ is None else environ, env_file, found)
    environment = _environment(values, found)
    jwt_keys, encryption_keys = keys_of("JWT_SECRET_KEY", values), keys_of("ENCRYPTION_KEY", values)
    master_keys, problems = check_keys(jwt_keys, encryption_keys, token_of("METRICS_TOKEN", values))
    found.problems.extend(problems)
    found.problems.extend(check_urls(values))
    port = _number("PORT", values, 65_535, found)
    web_concurrency = _number("WEB_CONCURRENCY", values, 64, found)
    trusted_proxy_hops = _number("TRUSTED_PROXY_HOPS", values, 10, found, least=0)
    access_token_expires = _number("JWT_ACCESS_TOKEN_EXPIRES", values, 999_999_999, found)
    refresh_token_expires = _number("JWT_REFRESH_TOKEN_EXPIRES", values, 999_999_999, found)
    session_idle_expires = _number("SESSION_IDLE_EXPIRES", values, 999_999_999, found)
    if values["SIGNUP"] not in ("open", "closed"):
        found.problems.append("SIGNUP must be open or closed.")
    audit_retention_days = _number("AUDIT_RETENTION_DAYS", values, 36_500, found)
    found.problems.extend(check_mail(values))
    found.problems.extend(check_origins(values))
    found.problems.extend(check_rates(values))
    tenant_budget = _number("RATELIMIT_TENANT_BUDGET", values, 999_999_999, found)
    if found.problems:
        raise ConfigurationError(tuple(found.problems))
    tls = environment == "production"
    return Settings(
        environment=environment,
        keyring=Keyring(master_keys[0], master_keys[1:]),
        jwt_secret_key=jwt_keys[0].text,
        jwt_secret_key_fallbacks=tuple(key.text for key in jwt_keys[1:]),
        database_url=database_url(values["DATABASE_URL"], PROJECT, tls),
        rotation_database_url=database_url(values["ROTATION_DATABASE_URL"], PROJECT, tls) or None,
        redis_url=values["REDIS_URL"] or None,
        port=port,
        access_token_expires=timedelta(seconds=access_token_expires),
        refresh_token_expires=timedelta(seconds=refresh_token_expires),
        session_idle_expires=timedelta(seconds=session_idle_expires),
        web_concurrency=web_concurrency,
        trusted_proxy_hops=trusted_proxy_hops,
        sign_up_open=values["SIGNUP"] == "open",
        metrics_token=values["METRICS_TOKEN"] or None,
        audit_retention=timedelta(days=audit_retention_days),
        resend_api_key=values["RESEND_API_KEY"] or None,
        mail_from=values["RESEND_FROM_EMAIL"] or None,
        public_url=values["PUBLIC_URL"].rstrip("/") or None,
        cors_origins=split_origins(values["CORS_ORIGINS"]),
        rates=rates_of(values),
        tenant_budget=tenant_budget,
        warnings=tuple(found.warnings),
    )


class _Findings(NamedTuple):
    """What the checks below add to. They go on after a problem, so that all are found in one go."""

    problems: list[str]
    warnings: list[str]


def _read(environ: Mapping[str, str], env_file: Path | None, found: _Findings) -> dict[str, str]:
    """The value of every variable: as set, from its NAME_FILE, by default, or an empty string."""
    in_file = _text_of(env_file, str(env_file), found) if env_file and os.path.lexists(env_file) else ""
    given = dotenv_values(stream=io.StringIO(in_file or ""))
    given |= {name: value for name, value in environ.items() if value.strip()}
    values = {}
    for variable in VARIABLES:
        value: str | None = (given.get(variable.name) or "").strip()
        path = (given.get(variable.file_name) or "").strip() if variable.secret else ""
        if value and path:
            found.problems.append(f"{variable.name} and {variable.file_name} are both set. Keep one of them.")
        elif path:
            # The secret itself, pasted here by mistake, must not end up in the report: it does not begin like a path.
            shown = path if path.startswith(("/", ".")) else "what it names (not repeated, it may be the secret itself)"
            value = _text_of(Path(path), f"{variable.file_name}: {shown}", found)
        if value == "" and variable.required:
            found.problems.append(f"{variable.name} is not set. {remedy(variable.name)}")
        values[variable.name] = value or variable.default or ""
    return values


def _check_env_file_of_flask(env_file: Path | None, found: _Findings) -> None:
    """The `flask` command has read the next `.env` upwards from the working directory: it must be ours."""
    read = find_dotenv(usecwd=True)
    if read and (env_file is None or Path(read).resolve() != env_file.resolve()):
        found.problems.append(
            f"The flask command has read {read}, which is not this installation's. Run it in the folder {PROJECT}."
        )


def _text_of(path: Path, label: str, found: _Findings) -> str | None:
    """The file's text without blanks around it, or None if it cannot be read. ``label`` names it in a report."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        found.problems.append(f"{label} cannot be read ({reason}). Correct the path, or the file and its permissions.")
        return None
    if stat.S_ISREG(mode) and mode & 0o077:
        close = f"chmod 600 {shlex.quote(str(path))}"
        found.warnings.append(f"{label} has mode {stat.S_IMODE(mode):04o}, open to other users. Close it: {close}")
    return text


def _environment(values: Mapping[str, str], found: _Findings) -> Environment:
    if values["APP_ENV"] == "development":
        return "development"
    if values["APP_ENV"] != "production":
        found.problems.append("APP_ENV must be production or development.")
    if values["FLASK_DEBUG"].lower() not in ("0", "false", "no"):  # as Flask reads it
        found.problems.append(
            "FLASK_DEBUG is on in production, where it lets visitors run code. Unset it, or set APP_ENV=development."
        )
    return "production"


def _number(name: str, values: Mapping[str, str], most: int, found: _Findings, least: int = 1) -> int:
    if re.fullmatch(r"[0-9]{1,9}", values[name]) and least <= int(values[name]) <= most:
        return int(values[name])
    found.problems.append(f"{name} must be a whole number from {least} to {most}.")
    return least
