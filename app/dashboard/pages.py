"""What blueprints of pages are made by, and what their lists are asked with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from apiflask import APIBlueprint
from flask import make_response, render_template, request

from app.dashboard.forms import SECRETS, Form
from app.dashboard.proof import ask_for_proof
from app.errors import NotFresh, TooManyRequests, Unavailable
from app.extensions import db
from app.pagination import PageQuery

View = TypeVar("View", bound=Callable[..., Any])


def pages_of(name: str, path: str | None = None) -> APIBlueprint:
    """A blueprint of pages below ``path``."""
    pages = APIBlueprint(name, __name__, url_prefix=path, enable_openapi=False)
    pages.register_error_handler(NotFresh, ask_for_proof)
    return pages


def page_query(parameter: str = "cursor") -> PageQuery:
    """Which page of a list somebody looks at. parameter: of the address, for a page with several lists."""
    cursor = request.args.get(parameter)
    return PageQuery.model_validate({"cursor": cursor} if cursor else {})


def page_with(form: Form, template: str, **values: Any) -> tuple[str, int]:
    """A page with a form; the status tells whether something is wrong with what was sent."""
    return render_template(template, form=form, **values), 422 if form.errors else 200


def keeps_form(
    form: type[Form], template: str, values: Callable[[], Mapping[str, Any]] = dict
) -> Callable[[View], View]:
    """Decorate a view that takes a form: where it is one request too many, or no mail can be sent, the form is shown
    again with what was typed, and says so. values: gives what else the template shows. Stands above
    :func:`~app.limits.counting.limited`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def kept(*args: Any, **kwargs: Any) -> Any:
            try:
                return view(*args, **kwargs)
            except (TooManyRequests, Unavailable) as refusal:
                db.session.rollback()
                again = form()
                again.refuse(refusal)
                for field in again:
                    if field.short_name in SECRETS:  # a code that was typed is of no use any more
                        field.data = None
                answer = make_response(render_template(template, form=again, **values()), refusal.status)
                answer.headers.update(refusal.headers)
                return answer

        return cast(View, kept)

    return decorate


def form_route(pages: APIBlueprint, address: str) -> Callable[[View], View]:
    """Decorate a view that shows a form and takes what is sent of it. Both are at one address, by two rules: what only
    reads is told by them from what changes something."""

    def route(view: View) -> View:
        pages.get(address)(view)
        pages.post(address, endpoint=f"send_{view.__name__}")(view)
        return view

    return route
