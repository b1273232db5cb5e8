"""How a page looks and what it is like for people who see it differently."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

ELSEWHERE: Final = Path(tempfile.gettempdir()) / "audiapro-screenshots"
SCREENSHOTS: Final = Path(os.environ.get("AUDIAPRO_SCREENSHOTS") or ELSEWHERE)
WIDTHS: Final = {"phone": ViewportSize(width=390, height=844), "desk": ViewportSize(width=1280, height=900)}
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
LONGEST: Final = 6000  # pixels; of a longer page the rest is left out


def in_every_look(page: Page) -> Iterator[str]:
    """Shows the page at both widths in both themes, and gives each look's name: ``phone-light`` and so on."""
    for width, size in WIDTHS.items():
        page.set_viewport_size(size)
        for theme in THEMES:
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # colours change at once
            yield f"{width}-{theme}"


def screenshot(page: Page, name: str) -> None:
    """Keeps a picture of the page, from its top to its end, as ``name.png`` among the screenshots."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    page.screenshot(
        path=SCREENSHOTS / f"{name}.png",
        full_page=True,
        clip={"x": 0, "y": 0, "width": width, "height": min(height, LONGEST)},
        animations="disabled",
    )


def check_axe(page: Page) -> None:
    """Fails where axe finds something serious or critical on the page as it is shown now."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    found = [_described(one) for one in violations if one["impact"] in ("serious", "critical")]
    assert not found, f"axe objects to {page.url}:\n" + "\n".join(found)


def _described(violation: dict[str, Any]) -> str:
    """The rule, what it asks for, and each element that it is about with what to do."""
    lines = [f"{violation['impact']}: {violation['id']}: {violation['help']}"]
    for node in violation["nodes"]:
        selector = " ".join(str(part) for part in node["target"])
        lines.append(f"  {selector}\n    " + node["failureSummary"].replace("\n", "\n    "))
    return "\n".join(lines)
