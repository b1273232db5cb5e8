"""What is limited, by which variable, and how much of it there may be unless that variable says otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from limits import RateLimitItem, parse

DEFAULT_BUDGET: Final = 100_000  # units for each tenant and minute

_RATE: Final = re.compile(r"[1-9][0-9]{0,8} per (?:[1-9][0-9]{0,3} )?(?:second|minute|hour|day)s?")


class Limit(Enum):
    """How often something may be done. ``default`` and the variable's value are such as "10 per minute"."""

    API = "RATELIMIT_API", "1200 per minute", "Requests to the API from one address."
    SIGN_IN = "RATELIMIT_SIGN_IN", "10 per minute", "Attempts to sign in from one address."
    SIGN_IN_FAILURES = "RATELIMIT_SIGN_IN_FAILURES", "20 per hour", "Failures to sign in to one account."
    ACCOUNT_MAIL = "RATELIMIT_ACCOUNT_MAIL", "20 per hour", "Requests that send mail to an account, from one address."
    RECIPIENT = "RATELIMIT_RECIPIENT", "3 per hour", "Mails of a kind that anybody may have sent to one recipient."
    INVITATIONS = "RATELIMIT_INVITATIONS", "100 per day", "Invitations that one tenant sends."
    ACCOUNT_TOKEN = "RATELIMIT_ACCOUNT_TOKEN", "20 per minute", "Uses of links that were mailed, from one address."
    DELIVERIES = "RATELIMIT_DELIVERIES", "3000 per minute", "Deliveries for one phone system from one address."
    REFUSED_DELIVERIES = (
        "RATELIMIT_REFUSED_DELIVERIES",
        "60 per minute",
        "Refused deliveries for one phone system from one address.",
    )
    HOOKS = "RATELIMIT_HOOKS", "600 per minute", "Refused deliveries from one address, wherever to."

    def __init__(self, variable: str, default: str, meaning: str) -> None:
        self.variable = variable
        self.default = default
        self.meaning = meaning


def check_rates(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the variables. No sentence repeats a value."""
    for limit in Limit:
        if not _RATE.fullmatch(values[limit.variable]):
            yield f"{limit.variable} must be a number per second, minute, hour or day, such as {limit.default}."


def rates_of(values: Mapping[str, str]) -> Mapping[Limit, RateLimitItem]:
    """What the variables say, after they were checked."""
    return {limit: parse(values[limit.variable]) for limit in Limit}


def default_rates() -> Mapping[Limit, RateLimitItem]:
    return {limit: parse(limit.default) for limit in Limit}
