"""How many calls there were each day, drawn as a part of the page.

What draws it styles it in ways that the pages' policy forbids. So only shapes and texts are kept of it, and
dashboard.css says how they look, in light and in dark.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Final
from xml.etree.ElementTree import Element, tostring

from markupsafe import Markup
from pygal import PluginImportFixer
from pygal.graph.stackedbar import StackedBar
from pygal.style import Style

from app.calls.statistics import Day

# It finds nothing that we have, and warns of itself whenever Python 3.11 looks for a module that there is not.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, PluginImportFixer)]

WIDTH: Final = 800
HEIGHT: Final = 240
MOST_LABELS: Final = 7  # below it: as many as a telephone has room for
MOST_LINES: Final = 5

_ATTRIBUTES: Final = {
    "svg": ("viewBox",),
    "g": ("transform",),
    "rect": ("x", "y", "width", "height", "rx", "ry"),
    "path": ("d",),
    "text": ("x", "y"),
}
_STYLE: Final = Style(label_font_size=14, major_label_font_size=14)  # from which the room for labels is reckoned


@lru_cache(maxsize=128)  # drawing takes longer than the rest of its page
def volume_chart(days: tuple[Day, ...]) -> Markup:
    """Answered and missed calls of each day, one upon the other, as ``<svg>``."""
    most = max(day.answered + day.missed for day in days)
    step = _step_for(most)
    top = step * max(1, -(-most // step))
    labels = [short(day.date) for day in days]
    chart = StackedBar(
        width=WIDTH,
        height=HEIGHT,
        style=_STYLE,
        margin=0,
        margin_top=8,
        spacing=8,
        show_legend=False,
        range=(0, top),
        y_labels=range(0, top + 1, step),
        x_labels=labels,
        x_labels_major=labels[:: -len(labels) // MOST_LABELS],
        show_minor_x_labels=False,
        truncate_label=-1,
        no_data_text="No calls",
        rounded_bars=2,
        formatter=lambda value: f"{value:,.0f}",
    )
    for name in ("answered", "missed"):
        values = [(day.date, getattr(day, name)) for day in days]
        # Nothing, where there is nothing to see: a bar without height would show its title all the same.
        bars = [{"value": count, "label": f"{long(day)}: {count:,} {name}"} if count else None for day, count in values]
        chart.add(name, bars)
    drawing = _kept(chart.render_tree())
    drawing.attrib |= {"class": "chart", "role": "img", "aria-label": summary(days)}
    return Markup(tostring(drawing, encoding="unicode"))  # noqa: S704 (what is kept of it holds texts as texts)


def summary(days: Sequence[Day]) -> str:
    """What the chart shows, for who cannot see it."""
    answered, missed = sum(day.answered for day in days), sum(day.missed for day in days)
    busiest = max(days, key=lambda day: day.answered + day.missed)
    said = f"Calls of each day from {short(days[0].date)} to {short(days[-1].date)}: "
    said += f"{answered:,} answered and {missed:,} missed."
    most = busiest.answered + busiest.missed
    return f"{said} The most were {most:,}, on {long(busiest.date)}." if most else said


def _step_for(most: int) -> int:
    """The distance between two lines, a round number, so that there are at most five of them up to ``most``."""
    step = 1
    while step * MOST_LINES < most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def short(day: date) -> str:
    """``3 Nov``."""
    return f"{day.day} {day:%b}"


def long(day: date) -> str:
    """``Tue 3 Nov``."""
    return f"{day:%a} {short(day)}"


def _kept(drawn: Element) -> Element:
    """A copy with nothing but shapes and texts, and the title that each bar shows on hover."""
    kept = Element(drawn.tag, {name: drawn.attrib[name] for name in _ATTRIBUTES[drawn.tag] if name in drawn.attrib})
    if drawn.get("class", "").startswith(("axis", "series")):
        kept.set("class", f"chart-{drawn.attrib['class']}")
    kept.text = drawn.text
    for child in drawn:
        if child.tag == "desc" and child.get("class") == "label":
            title = Element("title")
            title.text = child.text
            kept.append(title)
        elif child.tag in _ATTRIBUTES and child.get("class") not in ("background", "tooltip"):
            copy = _kept(child)
            if len(copy) or copy.tag != "g":
                kept.append(copy)
    return kept
