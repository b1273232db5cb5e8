"""What the pages of phone systems, payment accounts and API credentials have in common: how one of them is changed, its
secret replaced or removed, and how it is deleted. What each of them shows is in :mod:`app.dashboard.views`.

No page reads a secret: what is shown of one is that there is one, since when, and by whom it was set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from apiflask import APIBlueprint
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.dashboard.connection_kinds import Kind, update
from app.dashboard.edit import Edit
from app.dashboard.forms import Form, SecretField, VersionedForm, needed, note, warn
from app.dashboard.pages import form_route, page_with
from app.errors import MadeAlready, NotFound, OutdatedVersion
from app.extensions import db
from app.identity.access import current_tenant_id, fresh
from app.limits.budget import costs

TEMPLATES: Final = "dashboard/connections"
CHANGED_MEANWHILE: Final = "It was changed meanwhile: please look at it as it is now, and decide again."


def creation(kind: Kind, done: Callable[[Any], ResponseReturnValue], shown_once: str = "") -> ResponseReturnValue:
    """The page that creates one, and what comes after it. done: answers with what was created. shown_once: what that
    answer had that cannot be shown again, as a sentence."""
    form = kind.form()
    del form.version, form.without_secret, form.opened
    id = form.id_to_make() if form.is_sent() else None
    row = None
    if id is not None:
        try:
            earlier = _find(kind, id)
            row = kind.create(form, id) if earlier is None else None
        except MadeAlready:  # two clicks: the other request was faster
            earlier = _find(kind, id)
            if earlier is None:
                raise
        if earlier is not None:
            warn(f"{kind.name_of(earlier)} was added already, and not a second time. {shown_once}".strip())
            return redirect(url_for(".show", id=id), 303)
    if row is not None:
        return done(row)
    return page_with(form, f"{TEMPLATES}/form.html", kind=kind, title=f"New {kind.one}", back=url_for(".show_list"))


def _find(kind: Kind, id: UUID) -> Any | None:
    """What there is under that id; None for nothing, and for another tenant's."""
    try:
        return kind.get(id)
    except NotFound:
        return None


def add_changes(pages: APIBlueprint, kind: Kind) -> None:
    """Add the pages that change, and delete, one of a kind to its blueprint, which has ``show`` and ``show_list``."""

    @form_route(pages, "/<uuid:id>/edit")
    @costs(10)
    def edit(id: UUID) -> ResponseReturnValue:
        row = kind.get(id, to_change=request.method == "POST")
        form = kind.form(data=kind.form.of(row))
        del form.once
        if request.method == "GET":
            form.note_opened(row)
        edited = Edit(kind, row, form)
        if edited.is_saved():
            return redirect(url_for(".show", id=id), 303)
        title = f"Edit {kind.name_of(row)}"
        return _page("form", kind, row, form, title=title, back=url_for(".show", id=id), differences=edited.differences)

    @form_route(pages, "/<uuid:id>/secret")
    @fresh
    @costs(10)
    def replace_secret(id: UUID) -> ResponseReturnValue:
        row = kind.get(id, to_change=request.method == "POST")
        form = _secret_form(kind)(data={"version": row.version})
        name = kind.integrations.secret
        if form.is_sent():
            given = form.read(kind.changes, {name: form.text(name)})
            if given is not None and stored(form, row, lambda: update(kind, row, given.given(), form)):
                note(f"The {kind.secret_label} of {kind.name_of(row)} was saved.")
                return redirect(url_for(".show", id=id), 303)
        verb = "Replace" if kind.has_secret(row) else "Set"
        title = f"{verb} the {kind.secret_label} of {kind.name_of(row)}"
        return _page("secret", kind, row, form, title=title, back=url_for(".show", id=id))

    @form_route(pages, "/<uuid:id>/secret/remove")
    @fresh
    @costs(10)
    def remove_secret(id: UUID) -> ResponseReturnValue:
        meaning = "It cannot be brought back. A new one can be entered at any time."
        return removal(kind, id, kind.integrations.secret, kind.secret_label, meaning, url_for(".show", id=id))

    @form_route(pages, "/<uuid:id>/delete")
    @fresh
    @costs(10)
    def delete(id: UUID) -> ResponseReturnValue:
        row = kind.get(id, to_change=request.method == "POST")
        form, name = VersionedForm(data={"version": row.version}), kind.name_of(row)
        if form.is_sent() and stored(form, row, lambda: _delete(kind, row, form)):
            note(f"{name} was deleted.")
            return redirect(url_for(".show_list"), 303)
        return _page("delete", kind, row, form, title=f"Delete {name}?", back=url_for(".show", id=id))


def removal(kind: Kind, id: UUID, secret: str, label: str, meaning: str, back: str) -> ResponseReturnValue:
    """The page that removes a secret, and what comes after it. meaning: what happens then; back: where to go on."""
    row = kind.get(id, to_change=request.method == "POST")
    form = VersionedForm(data={"version": row.version})
    if form.is_sent() and stored(form, row, lambda: update(kind, row, {secret: None}, form)):
        note(f"The {label} of {kind.name_of(row)} was removed.")
        return redirect(back, 303)
    title = f"Remove the {label} of {kind.name_of(row)}?"
    return _page("remove_secret", kind, row, form, title=title, back=back, label=label, meaning=meaning)


def _secret_form(kind: Kind) -> type[VersionedForm]:
    field = SecretField(f"New {kind.secret_label}", [needed()])
    form: type[VersionedForm] = type("SecretForm", (VersionedForm,), {kind.integrations.secret: field})
    return form


def stored(form: VersionedForm, row: Any, store: Callable[[], object]) -> bool:
    """Whether ``store`` did it; if the row is another by now, the form says so and is one for that."""
    try:
        store()
    except OutdatedVersion:
        form.version.data = str(row.version)
        form.form_errors.append(CHANGED_MEANWHILE)
        return False
    return True


def _delete(kind: Kind, row: Any, form: VersionedForm) -> None:
    kind.integrations.delete(db.session(), current_tenant_id(), row.id, form.sent_version())


def _page(template: str, kind: Kind, row: Any, form: Form, **shown: Any) -> ResponseReturnValue:
    return page_with(form, f"{TEMPLATES}/{template}.html", kind=kind, row=row, **shown)
