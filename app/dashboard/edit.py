"""One change of a connection, by somebody who may not be the only one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request

from app.dashboard.changing import Difference
from app.dashboard.connection_kinds import ConnectionForm, Kind, update, warn_of
from app.dashboard.forms import note, warn
from app.identity.access import require_fresh


class Edit:
    """One change of ``row`` by ``form``. differences: between what is stored and what was typed, if somebody else has
    changed the row meanwhile: of each field the label and both."""

    def __init__(self, kind: Kind, row: Any, form: ConnectionForm) -> None:
        self._kind, self._row, self._form = kind, row, form
        self._secret = kind.integrations.secret
        self.differences: list[Difference] = []

    def is_saved(self) -> bool:
        """Whether it was stored. If not, the form says why, and has what else it needs to know."""
        form, kind, row = self._form, self._kind, self._row
        is_sent = form.is_sent()
        if request.method == "POST":
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
        differences = self._form.differences(self._row)
        self.differences = differences or []
        return differences is None

    def _save(self, changes: Mapping[str, Any]) -> None:
        row, notices = update(self._kind, self._row, changes, self._form)
        note(f"{self._kind.name_of(row)} was saved.")
        if any(notice.field == self._secret for notice in notices):
            warn(f"Its {self._kind.secret_label} was removed: enter one when you have it.")
        warn_of(self._form.remark({**changes, **{notice.field: None for notice in notices}}))
