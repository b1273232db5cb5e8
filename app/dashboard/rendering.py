"""What templates show times, numbers and icons with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Flask, g, request, url_for
from markupsafe import Markup

from app.calls.numbers import shown
from app.dashboard import notes
from app.dashboard.browsers import browser_of
from app.dashboard.local_time import in_zone
from app.database import now
from app.identity.access import current_membership

_ICONS: Final = files("flask_bootstrap") / "static/bootstrap5/icons/bootstrap-icons.svg"


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        at=show_time,
        day=show_day,
        ago=show_age,
        duration=show_duration,
        number=show_number,
        telephone=shown,
        plural=plural,
        browser=browser_of,
    )
    app.jinja_env.globals.update(
        icon=icon,
        notes=notes.take,
        now=now,
        plural=plural,
        in_words=in_words,
        current_membership=current_membership,
        address_with=address_with,
        with_query=with_query,
        zone_name=zone_name,
    )


def address_with(**changes: str | None) -> str:
    """This page's address with other parameters in its query; None leaves one out."""
    address = url_for(request.endpoint or "", **(request.view_args or {}))
    return with_query(address, request.args.to_dict() | changes)


def with_query(address: str, values: Mapping[str, str | None]) -> str:
    """An address with these parameters in its query, but for empty ones. Where somebody else chose their names,
    ``url_for`` might take one of them for an option of its own."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{address}?{query}" if query else address


def local_zone() -> ZoneInfo:
    """The tenant's time zone; UTC on pages of nobody."""
    if "zone" not in g:
        g.zone = ZoneInfo(current_membership().tenant.time_zone) if "caller" in g else ZoneInfo("UTC")
    zone: ZoneInfo = g.zone
    return zone


def zone_name() -> str:
    """What that zone is called: ``Europe/Berlin``."""
    return local_zone().key or "UTC"


def show_time(moment: datetime | None, otherwise: str = "never", *, seconds: bool = False) -> Markup:
    """``21 Nov 2026, 20:50`` in the tenant's zone, with the exact time in UTC on hover. seconds: show them, too."""
    if moment is None:
        return Markup('<span class="text-body-secondary">{}</span>').format(otherwise)
    local = in_zone(moment, local_zone())
    return _time(moment, f"{local.day} {local:%b %Y}, {local:{'%H:%M:%S' if seconds else '%H:%M'}}")


def show_day(moment: datetime) -> Markup:
    """``21 Nov 2026``, the day in the tenant's zone; the rest as above."""
    local = in_zone(moment, local_zone())
    return _time(moment, f"{local.day} {local:%b %Y}")


def show_age(moment: datetime | None, otherwise: str = "never") -> Markup:
    """``5 minutes ago``, or the time, if that is long ago; the rest as above."""
    if moment is None or now() - moment > timedelta(days=7) or moment - now() > timedelta(seconds=5):
        return show_time(moment, otherwise)
    seconds = max(0, int((now() - moment).total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return _time(moment, f"{plural(seconds // length, unit)} ago")
    return _time(moment, "just now")


def _time(moment: datetime, text: str) -> Markup:
    exact = moment.astimezone(UTC)
    machine = exact.isoformat(timespec="seconds").replace("+00:00", "Z")
    hover = f"{exact:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, hover, text)


def show_duration(seconds: float | None) -> str:
    """``1:05`` or ``1:02:05``."""
    if seconds is None:
        return "—"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_number(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def plural(number: int, one: str, several: str | None = None) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def in_words(seconds: int) -> str:
    """``1 second``, ``2 minutes``: how long to wait, rounded up."""
    return plural(seconds, "second") if seconds < 120 else plural(-(-seconds // 60), "minute")


@lru_cache(maxsize=64)
def icon(name: str, label: str = "") -> Markup:
    """One of Bootstrap's icons, as a part of the page. label: what it says to who cannot see it; without one it is an
    ornament. Raises LookupError for a name that there is none of."""
    found = re.search(rf'<symbol[^>]* id="{re.escape(name)}">(.*?)</symbol>', _all_icons(), re.DOTALL)
    if found is None:
        raise LookupError(f"there is no icon {name}")
    hidden = Markup('aria-hidden="true"')
    for_whom = Markup('role="img" aria-label="{}"').format(label) if label else hidden
    drawing = Markup(found[1])  # noqa: S704 (a part of a package)
    return Markup('<svg class="icon" viewBox="0 0 16 16" fill="currentColor" {}>{}</svg>').format(for_whom, drawing)


@lru_cache(maxsize=1)
def _all_icons() -> str:
    return _ICONS.read_text()
