"""What blueprints of pages are made by, and what their lists are asked with."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import request

from app.dashboard.steps import ask_for_proof
from app.errors import NotFresh
from app.pagination import PageQuery


def pages_of(name: str, path: str | None = None) -> APIBlueprint:
    """A blueprint of pages below ``path``."""
    pages = APIBlueprint(name, __name__, url_prefix=path, enable_openapi=False)
    pages.register_error_handler(NotFresh, ask_for_proof)
    return pages


def page_query(parameter: str = "cursor") -> PageQuery:
    """Which page of a list somebody looks at. parameter: of the address, for a page with several lists."""
    cursor = request.args.get(parameter)
    return PageQuery.model_validate({"cursor": cursor} if cursor else {})
