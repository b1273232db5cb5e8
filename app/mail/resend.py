"""Sending through Resend, by its own package.

The API: https://resend.com/docs/api-reference/emails/send-email, its errors:
https://resend.com/docs/api-reference/errors, its idempotency keys, which it remembers for 24 hours:
https://resend.com/docs/dashboard/emails/idempotency-keys
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import requests
import resend

from app.mail.delivery import NotSent

TIMEOUT_SECONDS: Final = 5  # to connect, and again between the bytes of the answer

# Below 500 and yet not about this mail: too slow, too early, too many, or another request with its key is under way.
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_UNDER_WAY: Final = "concurrent_idempotent_requests"
_NOT_THE_API: Final = "application_error"  # also what the package calls an answer that is no JSON, such as a proxy's


class Resend:
    """The transport. The package keeps key and client in its module: a process sends with one key."""

    def __init__(self, api_key: str) -> None:
        resend.api_key = api_key
        resend.default_http_client = _Client()

    def send(self, key: str, content: Mapping[str, str]) -> str | None:
        params: resend.Emails.SendParams = {
            "from": content["from"],
            "to": [content["to"]],
            "subject": content["subject"],
            "text": content["text"],
            "html": content["html"],
        }
        try:
            answer = resend.Emails.send(params, {"idempotency_key": key})
        except resend.exceptions.ResendError as error:
            raise _not_sent(error) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise NotSent("an answer without an id")
        return str(answer["id"])[:100]


def _not_sent(error: resend.exceptions.ResendError) -> NotSent:
    if isinstance(error.__context__, _NoAnswer):
        return NotSent(f"no answer ({error.__context__})")
    status, name = int(error.code), str(error.error_type)
    shown = name if re.fullmatch(r"[A-Za-z_]{1,50}", name) else "error"
    final = 400 <= status < 500 and status not in _TRY_AGAIN and name not in (_UNDER_WAY, _NOT_THE_API)
    return NotSent(f"{status} {shown}", str(error.message).replace(str(resend.api_key), "…"), final=final)


class _NoAnswer(Exception):
    """Of the kind that its text names."""


class _Client(resend.HTTPClient):
    """The package's client with a shorter timeout, and without what would carry a mail or its key elsewhere."""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            answer = requests.request(
                method,
                url,
                headers=headers,
                json=json,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                auth=_as_it_is,
            )
        except requests.RequestException as error:  # whose text may hold the request
            raise _NoAnswer(type(error).__name__) from None
        return answer.content, answer.status_code, answer.headers


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication but ours: without any, requests takes what a .netrc has for the host in place of our key."""
    return request
