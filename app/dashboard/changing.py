"""A form that changes something which somebody else may be changing, too."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final

from wtforms import HiddenField

from app.dashboard.forms import VersionedForm

CHANGED_MEANWHILE: Final = (
    "Somebody changed this while you were editing it. Nothing of yours was saved yet: compare, then save again to "
    "store what is in the fields below. What you have not touched is what is stored now."
)

Difference = tuple[str, str, str]  # a field's label, what is stored, and what was typed


class EditForm(VersionedForm):
    """To change a row. PLAIN: the attributes that have a field and hold no secret, in the order in which they are
    compared."""

    PLAIN: ClassVar[tuple[str, ...]] = ()

    opened = HiddenField()  # what the fields without secrets held when it was made, as JSON

    def note_opened(self, row: Any) -> None:
        """The form is one for ``row`` as it is now."""
        self.version.data, self.opened.data = str(row.version), json.dumps(self._stored(row))

    def take_theirs(self, row: Any) -> None:
        """Set the fields that were not touched since the form was made to what is stored now, as it is shown now."""
        opened = self._opened()
        for name, stored in self._stored(row).items():
            if opened.get(name) == self.text(name):
                self[name].data = stored

    def differences(self, row: Any) -> list[Difference] | None:
        """None if the form was made for ``row`` as it is now. If not, it says so, and is one for that from here on."""
        if self.sent_version() == row.version:
            return None
        self.note_opened(row)
        self.form_errors.append(CHANGED_MEANWHILE)
        stored = type(self)(blank=True, data=self.of(row))
        compared = [(self[name].label.text, _readable(stored[name]), _readable(self[name])) for name in self.PLAIN]
        return [(label, theirs, ours) for label, theirs, ours in compared if theirs != ours]

    @classmethod
    def of(cls, row: Any) -> dict[str, Any]:
        """What the fields hold for ``row``."""
        return {name: getattr(row, name) or "" for name in cls.PLAIN}

    def _opened(self) -> dict[str, Any]:
        """By the fields' names; empty for what was not sent by a form of ours: then everything counts as typed."""
        try:
            opened = json.loads(self.text("opened"))
        except (ValueError, RecursionError):
            return {}
        return opened if isinstance(opened, dict) else {}

    def _stored(self, row: Any) -> dict[str, str]:
        return {name: str(value) for name, value in self.of(row).items()}


def _readable(field: Any) -> str:
    """What somebody reads in a field."""
    if field.type == "SelectField":
        return next((str(choice.label) for choice in field.iter_choices() if choice.selected), "")
    return str(field._value())
