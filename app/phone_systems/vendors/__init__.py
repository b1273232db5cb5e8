"""The kinds of PBX."""

from __future__ import annotations

from typing import Any

VENDORS: dict[str, Any] = {"asterisk": None, "grandstream": None}
