"""What the pages of phone systems, payment accounts and API credentials have in common: how one of them is changed, its
secret replaced or removed, and how it is deleted. What each of them shows is in :mod:`app.dashboard.views`.

No page reads a secret: what is shown of one is that there is one, since when, and by whom it was set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from apiflask import APIBlueprint
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import BooleanField, HiddenField

from app.dashboard.forms import Form, SecretField, VersionedForm, needed, note, warn
from app.dashboard.once import OnceForm
from app.dashboard.pages import form_route, page_with
from app.errors import MadeAlready, NotFound, OutdatedVersion
from app.extensions import db
from app.identity.access import current_tenant_id, fresh, require_fresh
from app.integrations.schemas import Changes
from app.integrations.service import Integrations
from app.limits.budget import costs
from app.schemas import Input

TEMPLATES: Final = "dashboard/connections"
CHANGED_MEANWHILE: Final = "It was changed meanwhile: please look at it as it is now, and decide again."


class ConnectionForm(VersionedForm, OnceForm):
    """To create or change a connection. A subclass has a field for each attribute, the secret among them.

    PLAIN: those that hold no secret, in the order in which they are compared. HEADINGS: what stands above some of
    them: a title, and a sentence.
    """

    PLAIN: ClassVar[tuple[str, ...]] = ()
    HEADINGS: ClassVar[Mapping[str, tuple[str, str]]] = {}

    without_secret = BooleanField()
    opened = HiddenField()  # what the fields without secrets held when it was made, as JSON

    def note_opened(self, row: Any) -> None:
        """The form is one for ``row`` as it is now."""
        self.version.data, self.opened.data = str(row.version), json.dumps(self._stored(row))

    def take_theirs(self, row: Any) -> None:
        """Set the fields that were not touched since the form was made to what is stored now."""
        opened = self._opened()
        for name, stored in self._stored(row).items():
            if opened.get(name) == self.text(name):
                self[name].data = stored

    def _opened(self) -> dict[str, Any]:
        """By the fields' names; empty for what was not sent by a form of ours: then everything counts as typed."""
        try:
            opened = json.loads(self.text("opened"))
        except (ValueError, RecursionError):
            return {}
        return opened if isinstance(opened, dict) else {}

    def _stored(self, row: Any) -> dict[str, str]:
        return {name: str(value) for name, value in self.of(row).items()}

    def values(self, row: Any = None) -> dict[str, Any] | None:
        """What was typed, for the schema; None if that says nothing, and why is written beside the fields.

        row: what is stored, where something is.
        """
        return self.texts(*self.PLAIN)

    def remark(self, changes: Mapping[str, Any]) -> str | None:
        """What to know of what was typed, now that ``changes`` are stored."""
        return None

    @classmethod
    def of(cls, row: Any) -> dict[str, Any]:
        """What the fields hold for ``row``."""
        return {name: getattr(row, name) or "" for name in cls.PLAIN}


@dataclass(frozen=True)
class Kind:
    """One kind of connection.

    one: what people call it. secret_label: what they call its secret. name_of: what they call this very one.
    sent_to: where its secret is sent, in words. given, changes: what the API takes to create and to change one.
    after_deletion: what deleting one means.
    """

    integrations: Integrations[Any]
    one: str
    secret_label: str
    form: type[ConnectionForm]
    given: type[Input]
    changes: type[Changes]
    name_of: Callable[[Any], str]
    sent_to: Callable[[Any], str]
    after_deletion: str

    def get(self, id: UUID, *, to_change: bool = False) -> Any:
        return self.integrations.get(db.session(), current_tenant_id(), id, to_change=to_change)

    def has_secret(self, row: Any) -> bool:
        return bool(getattr(row, f"{self.integrations.secret}_set"))

    def create(self, form: ConnectionForm, id: UUID) -> Any | None:
        """What was typed, stored under that id; None if something is wrong with it."""
        values = form.values()
        secret = self.integrations.secret
        given = None if values is None else form.read(self.given, values | form.texts(secret))
        if given is None:
            return None
        entered = {name: value for name, value in given.given().items() if value is not None}
        row = self.integrations.create(db.session(), current_tenant_id(), entered, id)
        _warn_of(form.remark(entered))
        return row


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
            if given is not None and stored(form, row, lambda: _update(kind, row, given.given(), form)):
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
    if form.is_sent() and stored(form, row, lambda: _update(kind, row, {secret: None}, form)):
        note(f"The {label} of {kind.name_of(row)} was removed.")
        return redirect(back, 303)
    title = f"Remove the {label} of {kind.name_of(row)}?"
    return _page("remove_secret", kind, row, form, title=title, back=back, label=label, meaning=meaning)


class Edit:
    """One change of ``row`` by ``form``. differences: between what is stored and what was typed, if somebody else has
    changed the row meanwhile: of each field the label and both."""

    def __init__(self, kind: Kind, row: Any, form: ConnectionForm) -> None:
        self._kind, self._row, self._form = kind, row, form
        self._secret = kind.integrations.secret
        self.differences: list[tuple[str, str, str]] = []

    def is_saved(self) -> bool:
        """Whether it was stored. If not, the form says why, and has what else it needs to know."""
        form, kind, row = self._form, self._kind, self._row
        is_sent = form.is_sent()
        if is_sent and form.sent_version() != row.version:
            form.take_theirs(row)
        changes = {} if request.method == "GET" else self._changes()
        moved = [] if changes is None else [name for name in kind.integrations.sent_to if name in changes]
        typed = form.text(self._secret)
        is_asked = bool(moved) and kind.has_secret(row)
        self._ask(is_asked, bool(typed))
        if not is_sent or changes is None or not self._is_current():
            return False
        if typed:
            secret = form.read(kind.changes, {self._secret: typed})
            if secret is None:
                return False
            changes |= secret.given()
        if kind.integrations.guarded & changes.keys():
            require_fresh()
        if is_asked and not typed and not form.without_secret.data:
            message = f"enter the {kind.secret_label} again, or choose below to save without one"
            form.complain([{"field": self._secret, "message": message}])
            return False
        self._save(changes)
        return True

    def _changes(self) -> dict[str, Any] | None:
        """The attributes that are to be others than they are; None if something that was typed is wrong."""
        values = None if self._form.errors else self._form.values(self._row)
        given = None if values is None else self._form.read(self._kind.changes, values)
        if given is None:
            return None
        return {name: value for name, value in given.given().items() if value != getattr(self._row, name)}

    def _ask(self, is_asked: bool, was_typed: bool) -> None:
        """Ask for the secret only where it has to be entered again, and say why."""
        form, kind = self._form, self._kind
        field = form[self._secret]
        if not is_asked:
            del form.without_secret
            if not was_typed:
                del form[self._secret]
            return
        field.flags.optional_silently = True
        field.description = (
            f"The stored {kind.secret_label} was entered for {kind.sent_to(self._row)}. Please enter it again, so that "
            "nobody who does not know it can have it sent elsewhere."
        )
        form.without_secret.label.text = f"Save without it: the stored {kind.secret_label} is removed"

    def _is_current(self) -> bool:
        """Whether the form was made for what is stored. If not, it is one for that from here on."""
        if self._form.sent_version() == self._row.version:
            return True
        self._form.note_opened(self._row)
        stored = self._kind.form(blank=True, data=self._kind.form.of(self._row))
        for name in self._kind.form.PLAIN:
            theirs, ours = _readable(stored[name]), _readable(self._form[name])
            if theirs != ours:
                self.differences.append((self._form[name].label.text, theirs, ours))
        self._form.form_errors.append(
            "Somebody changed this while you were editing it. Nothing of yours was saved yet: compare, then save again "
            "to store what is in the fields below. What you have not touched is what is stored now."
        )
        return False

    def _save(self, changes: Mapping[str, Any]) -> None:
        row, notices = _update(self._kind, self._row, changes, self._form)
        note(f"{self._kind.name_of(row)} was saved.")
        if any(notice.field == self._secret for notice in notices):
            warn(f"Its {self._kind.secret_label} was removed: enter one when you have it.")
        _warn_of(self._form.remark(changes))


def _warn_of(remark: str | None) -> None:
    if remark is not None:
        warn(remark)


def _readable(field: Any) -> str:
    """What somebody reads in a field."""
    if field.type == "SelectField":
        return next((str(choice.label) for choice in field.iter_choices() if choice.selected), "")
    return str(field._value())


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


def _update(kind: Kind, row: Any, changes: Mapping[str, Any], form: VersionedForm) -> Any:
    return kind.integrations.update(db.session(), current_tenant_id(), row.id, changes, form.sent_version())


def _delete(kind: Kind, row: Any, form: VersionedForm) -> None:
    kind.integrations.delete(db.session(), current_tenant_id(), row.id, form.sent_version())


def _page(template: str, kind: Kind, row: Any, form: Form, **shown: Any) -> ResponseReturnValue:
    return page_with(form, f"{TEMPLATES}/{template}.html", kind=kind, row=row, **shown)
