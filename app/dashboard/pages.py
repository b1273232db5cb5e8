"""What a blueprint of pages is made by."""

from __future__ import annotations

from apiflask import APIBlueprint

from app.dashboard.steps import ask_for_proof
from app.errors import NotFresh


def pages_of(name: str, path: str | None = None) -> APIBlueprint:
    """A blueprint of pages below ``path``."""
    pages = APIBlueprint(name, __name__, url_prefix=path, enable_openapi=False)
    pages.register_error_handler(NotFresh, ask_for_proof)
    return pages
