"""The report in words, and as JSON: line by line, as it is found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

from app.incident.exposure import Exposed, Secret
from app.incident.keys import KeyLife


class Platform(NamedTuple):
    """What is no tenant's: the variables that hold secrets; and what is stored, each with how many there are."""

    variables: list[str]
    stored: dict[str, int]


def as_json_lines(
    tenants: Iterable[Exposed], since: datetime, key: KeyLife | None, platform: Platform
) -> Iterator[str]:
    """One object."""
    head = json.dumps({"since": _time(since), "key": key and key.id})
    yield f'{head[:-1]}, "tenants": ['
    count, waiting = 0, ""  # a line is only known to be the last one when no other comes
    for tenant in tenants:
        if count:
            yield f"{waiting},"
        count, waiting = count + 1, json.dumps(_shown(tenant))
    if count:
        yield waiting
    yield f"], {json.dumps({'count': count, 'platform': platform._asdict()})[1:]}"


def _shown(tenant: Exposed) -> dict[str, Any]:
    fields = asdict(tenant) | {"id": str(tenant.id), "tell": [person._asdict() for person in tenant.tell]}
    return fields | {"secrets": [_shown_secret(secret) for secret in tenant.secrets]}


def _shown_secret(secret: Secret) -> dict[str, Any]:
    times = {name: _time(getattr(secret, name)) for name in ("set_at", "gone_at", "used_at")}
    return asdict(secret) | {"row": str(secret.row)} | times


def as_text(tenants: Iterable[Exposed], since: datetime, key: KeyLife | None, platform: Platform) -> Iterator[str]:
    """For people."""
    count = 0
    for tenant in tenants:
        count += 1
        suspended = ", suspended" if tenant.suspended else ""
        people = ", ".join(
            f"{person.email} ({person.role}{', disabled' if person.disabled else ''})" for person in tenant.tell
        )
        yield _plain(f"{tenant.subdomain} ({tenant.name}{suspended})")
        yield _plain(f"  tell: {people or 'it has no owner'}")
        yield from (_plain(f"  {_sentence(secret)}") for secret in tenant.secrets)
        yield ""
    under = "" if key is None else f" and were signed with {key.id}" if key.signs else f" and were ever under {key.id}"
    have = "tenant has" if count == 1 else "tenants have"
    yield f"{count} {have} secrets that existed since {_time(since)}{under}."
    yield "Yours to replace, if others could read the configuration or the database:"
    yield f"  {', '.join(platform.variables)}"
    yield f"  {', '.join(f'{what}: {number}' for what, number in platform.stored.items())}"


def _sentence(secret: Secret) -> str:
    since = f"set {_time(secret.set_at)}" if secret.set_at else "it is not known since when"
    end = f"gone {_time(secret.gone_at)}" if secret.gone_at else f"under {secret.key_id}" if secret.key_id else ""
    parts = [f"{secret.what} (row {secret.row})", since, end, _use(secret)]
    return f"{'; '.join(part for part in parts if part)} -> {secret.reissue}"


def _use(secret: Secret) -> str:
    if secret.used is None:
        return "whether it was used is not known"
    times = f" {secret.uses} times" if secret.uses and secret.uses > 1 else ""
    return f"USED{times}, last {_time(secret.used_at)}" if secret.used else "not used"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    """Names are tenants' own: nothing of them reaches the terminal but what can be seen."""
    return "".join(character if character.isprintable() else "?" for character in text)
