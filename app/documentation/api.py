"""``/docs``: the description of the API, for people."""

from __future__ import annotations

from typing import Any, Final, cast

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, render_template

from app.documentation.page import sections

# The page has no script, no form and no image: what it needs is its own stylesheet.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

api = APIBlueprint(
    "documentation",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/docs/static",
    enable_openapi=False,
)


@api.get("/docs")
def show() -> Response:
    """Made once: the routes do not change while the process lives."""
    page = current_app.extensions.get("documentation")
    if page is None:
        spec = cast(dict[str, Any], cast(APIFlask, current_app).spec)
        page = render_template("documentation.html", info=spec["info"], sections=sections(spec))
        current_app.extensions["documentation"] = page
    return Response(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
