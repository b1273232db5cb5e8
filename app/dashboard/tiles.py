"""The figures of a period beside those of the one before, in words."""

from __future__ import annotations

from dataclasses import dataclass

from app.calls.statistics import Figures, Overview
from app.dashboard.rendering import show_duration, show_number


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
        _counted("Calls", present.calls, before.calls),
        _share(present, before),
        _counted("Missed", present.missed, before.missed, fewer_is_better=True),
        _counted("Unique callers", present.unique_callers, before.unique_callers),
        _talk(present.average_talk_seconds, before.average_talk_seconds),
    ]


def _counted(title: str, present: int, before: int, *, fewer_is_better: bool = False) -> Tile:
    more = present - before
    change = f"{show_number(abs(more))} {'more' if more > 0 else 'fewer'}" if more else "as many"
    verdict = ("worse" if more > 0 else "better") if fewer_is_better and more else ""
    return Tile(title, show_number(present), show_number(before), change, more > 0, verdict)


def _share(present: Figures, before: Figures) -> Tile:
    now, then = (_percent(figures.answered_share) for figures in (present, before))
    texts = "Answered", _with_sign(now), _with_sign(then)
    if now is None or then is None:
        return Tile(*texts)
    if now == then:
        return Tile(*texts, "the same")
    points = abs(now - then)
    change = f"{points} {'point' if points == 1 else 'points'} {'more' if now > then else 'less'}"
    return Tile(*texts, change, now > then, "better" if now > then else "worse")


def _talk(now: float | None, then: float | None) -> Tile:
    texts = "Average talk", show_duration(now), show_duration(then)
    if now is None or then is None:
        return Tile(*texts)
    longer = round(now) - round(then)
    change = f"{show_duration(abs(longer))} {'longer' if longer > 0 else 'shorter'}" if longer else "the same"
    return Tile(*texts, change, longer > 0)


def _percent(share: float | None) -> int | None:
    return None if share is None else round(share * 100)


def _with_sign(percent: int | None) -> str:
    return "—" if percent is None else f"{percent}%"
