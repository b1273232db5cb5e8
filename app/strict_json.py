"""JSON as RFC 8259 and good sense have it: no NaN, no key twice, no nesting without end."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask.json.provider import DefaultJSONProvider


def loads(text: str | bytes, **kwargs: Any) -> Any:
    """What the text holds. Raises ValueError also for what two readers could understand in two ways."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, **kwargs)
    except RecursionError:
        raise ValueError("nested too deeply") from None


class StrictJSONProvider(DefaultJSONProvider):
    """Flask's JSON, which answers 400 to a request whose body :func:`loads` refuses."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return loads(s, **kwargs)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
