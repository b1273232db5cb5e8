"""The figures of a period beside those of the one before, in words."""

from __future__ import annotations

from dataclasses import dataclass

from app.calls.statistics import Figures, Overview
from app.dashboard.rendering import plural, show_duration, show_number


@dataclass(frozen=True)
class Tile:
    """One figure. before: the same of the period before. change: how it differs, in words; "" where there is nothing to
    compare. verdict: "better", "worse", or "" for what is neither."""

    title: str
    value: str
    before: str
    change: str = ""
    rises: bool = False
    verdict: str = ""


def tiles(found: Overview) -> list[Tile]:
    """What the overview shows of the present period."""
    present, before = found.present, found.before
    return [
        _count("Calls", present.calls, before.calls, before),
        _share(present.answered_share, before.answered_share),
        _count("Missed", present.missed, before.missed, before, verdicts=("better", "worse")),
        _count("Unique callers", present.unique_callers, before.unique_callers, before),
        _talk(present.average_talk_seconds, before.average_talk_seconds),
    ]


def _count(title: str, now: int, then: int, before: Figures, *, verdicts: tuple[str, str] = ("", "")) -> Tile:
    """verdicts: on fewer, and on more."""
    if not before.calls:
        return Tile(title, show_number(now), "no calls before")
    more = now - then
    change = f"{show_number(abs(more))} {'more' if more > 0 else 'fewer'}" if more else "as many"
    return Tile(
        title, show_number(now), f"{show_number(then)} before", change, more > 0, verdicts[more > 0] * bool(more)
    )


def _share(now: float | None, then: float | None) -> Tile:
    value = "—" if now is None else f"{round(now * 100)}%"
    if then is None:
        return Tile("Answered", value, "no calls before")
    points = round((now or 0) * 100) - round(then * 100)
    before = f"{round(then * 100)}% before"
    if now is None or not points:
        return Tile("Answered", value, before, "" if now is None else "the same")
    change = f"{plural(abs(points), 'point')} {'more' if points > 0 else 'less'}"
    return Tile("Answered", value, before, change, points > 0, "better" if points > 0 else "worse")


def _talk(now: float | None, then: float | None) -> Tile:
    """Of answered calls."""
    value = show_duration(now)
    if then is None:
        return Tile("Average talk", value, "none before")
    before = f"{show_duration(then)} before"
    if now is None:
        return Tile("Average talk", value, before)
    longer = round(now) - round(then)
    change = f"{show_duration(abs(longer))} {'longer' if longer > 0 else 'shorter'}" if longer else "the same"
    return Tile("Average talk", value, before, change, longer > 0)
